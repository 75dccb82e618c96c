//! What a field of the run config may hold, and how it is described to people and to the page.

use serde::Serialize;
use serde_json::Value;

/// One field of the run config: its row of the table, for the command line's help and the page's form.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Field {
    /// The name in `run.json`.
    pub name: &'static str,
    /// The flag on the command line, with its two dashes.
    pub flag: String,
    /// Other names that are read, of other programs.
    pub aliases: &'static [&'static str],
    /// "integer", "number", "boolean", "text", "choice", "modules", "integers", "numbers", "names", "patterns" or "rewards".
    pub kind: &'static str,
    /// The default, for the method and the objective that were asked about.
    pub default: Value,
    /// The smallest value, of a number.
    pub min: Option<f64>,
    /// The largest value, of a number.
    pub max: Option<f64>,
    /// The values, of a choice.
    pub choices: &'static [&'static str],
    /// What it does, in one line.
    pub help: &'static str,
    /// The heading it stands under.
    pub group: &'static str,
    /// The methods that it belongs to; none where it belongs to all.
    pub methods: Vec<&'static str>,
    /// The objectives that it belongs to; none where it belongs to all.
    pub objectives: Vec<&'static str>,
}

/// A value as it was written.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// In `run.json`, or by the page.
    Json(&'a Value),
    /// On the command line.
    Text(&'a str),
}

/// A type that a field may have.
pub trait FieldValue: Sized {
    /// The field's `kind`.
    const KIND: &'static str;
    /// What is expected, for messages.
    const EXPECTED: &'static str;
    /// The values, of a choice.
    const CHOICES: &'static [&'static str] = &[];

    /// The value, `None` where it is of another type.
    fn read(input: Input) -> Option<Self>;

    /// The value as it stands in `run.json`.
    fn json(&self) -> Value;

    /// The numbers in the value: what a range is checked against.
    fn numbers(&self) -> Vec<f64> {
        Vec::new()
    }
}

macro_rules! integers {
    ($($t:ty, $expected:literal;)*) => {$(
        impl FieldValue for $t {
            const KIND: &'static str = "integer";
            const EXPECTED: &'static str = $expected;

            fn read(input: Input) -> Option<Self> {
                match input {
                    Input::Text(text) => text.parse().ok(),
                    Input::Json(value) => match value.as_i64() {
                        Some(whole) => whole.try_into().ok(),
                        // JavaScript and Python may write 3.0 for 3.
                        None => value.as_f64().map(|v| v as $t).filter(|v| Some(f64::from(*v)) == value.as_f64()),
                    },
                }
            }

            fn json(&self) -> Value {
                (*self).into()
            }

            fn numbers(&self) -> Vec<f64> {
                vec![(*self).into()]
            }
        }
    )*};
}

integers! {
    u32, "a whole number, not negative";
    i32, "a whole number";
}

impl FieldValue for f64 {
    const KIND: &'static str = "number";
    const EXPECTED: &'static str = "a number";

    fn read(input: Input) -> Option<Self> {
        match input {
            Input::Text(text) => text.parse().ok(),
            Input::Json(value) => value.as_f64(),
        }
        .filter(|v: &f64| v.is_finite())
    }

    fn json(&self) -> Value {
        (*self).into()
    }

    fn numbers(&self) -> Vec<f64> {
        vec![*self]
    }
}

impl FieldValue for bool {
    const KIND: &'static str = "boolean";
    const EXPECTED: &'static str = "true or false";

    fn read(input: Input) -> Option<Self> {
        match input {
            Input::Text(text) => text.parse().ok(),
            Input::Json(value) => value.as_bool(),
        }
    }

    fn json(&self) -> Value {
        (*self).into()
    }
}

impl FieldValue for String {
    const KIND: &'static str = "text";
    const EXPECTED: &'static str = "a text";

    fn read(input: Input) -> Option<Self> {
        match input {
            Input::Text(text) => Some(text.into()),
            Input::Json(value) => value.as_str().map(String::from),
        }
    }

    fn json(&self) -> Value {
        self.as_str().into()
    }
}

/// The items of a list: one of JSON, or a text with commas between them, as on the command line and in the page. One
/// item of JSON is a list of it.
fn items<T: FieldValue>(input: Input) -> Option<Vec<T>> {
    match input {
        Input::Json(Value::Array(items)) => items.iter().map(|item| T::read(Input::Json(item))).collect(),
        Input::Json(Value::String(text)) => items(Input::Text(text)),
        Input::Json(item) => T::read(Input::Json(item)).map(|item| vec![item]),
        Input::Text(text) if text.trim().is_empty() => Some(Vec::new()),
        Input::Text(text) => text.split(',').map(|item| T::read(Input::Text(item.trim()))).collect(),
    }
}

impl FieldValue for Vec<u32> {
    const KIND: &'static str = "integers";
    const EXPECTED: &'static str = "a list of whole numbers, such as 0,1,5";

    fn read(input: Input) -> Option<Self> {
        items(input)
    }

    fn json(&self) -> Value {
        self.as_slice().into()
    }
}

impl FieldValue for Vec<f64> {
    const KIND: &'static str = "numbers";
    const EXPECTED: &'static str = "a list of numbers, such as 1,0.5";

    fn read(input: Input) -> Option<Self> {
        items(input)
    }

    fn json(&self) -> Value {
        self.as_slice().into()
    }
}

impl FieldValue for Vec<String> {
    const KIND: &'static str = "names";
    const EXPECTED: &'static str = "a list of names, such as lm_head,norm";

    fn read(input: Input) -> Option<Self> {
        items(input).filter(|names: &Self| names.iter().all(|name| !name.is_empty()))
    }

    fn json(&self) -> Value {
        self.as_slice().into()
    }
}

/// Declares an enum whose values are written by name.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident, $expected:literal { $($(#[$value_doc:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$value_doc])* $value,)* }

        impl $name {
            /// The name in `run.json`.
            pub fn name(self) -> &'static str {
                match self { $($name::$value => $text,)* }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl $crate::settings::field::FieldValue for $name {
            const KIND: &'static str = "choice";
            const EXPECTED: &'static str = $expected;
            const CHOICES: &'static [&'static str] = &[$($text),*];

            fn read(input: $crate::settings::field::Input) -> Option<Self> {
                let text = match input {
                    $crate::settings::field::Input::Text(text) => text,
                    $crate::settings::field::Input::Json(value) => value.as_str()?,
                };
                match text { $($text => Some($name::$value),)* _ => None }
            }

            fn json(&self) -> serde_json::Value {
                self.name().into()
            }
        }
    };
}
pub(crate) use choice;
