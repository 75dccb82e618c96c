//! The forms of a product, and of attention: kernels that compute the same in ways that suit different adapters. All but
//! the last give the same bits, so on a GPU what was found to be fastest decides nothing but the time.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::format::encoding::Encoding;

/// How something is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Rows shared through workgroup memory: right everywhere.
    Plain,
    /// Tiles in workgroup memory, for GPUs.
    Tile,
    /// Smaller ones, for what has few.
    Small,
    /// Rows shared by subgroup broadcasts, for adapters that run on a processor.
    Subgroup,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Tile, Self::Small, Self::Subgroup];

    /// Its name in a file of choices.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tile => "tile",
            Self::Small => "small",
            Self::Subgroup => "subgroup",
        }
    }
}

/// What has forms, as far as its speed depends on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tunable {
    /// A product with a packed matrix.
    Product {
        /// Whether the packed matrix stands as it is, `a b`, and not transposed, `a b^T`.
        straight: bool,
        /// Of the packed matrix.
        encoding: Encoding,
        /// Rows of the result.
        rows: usize,
        /// Its columns, in segments.
        cols: Vec<usize>,
        /// What is summed over.
        depth: usize,
    },
    /// A kernel of attention.
    Attention {
        /// Its name.
        kernel: &'static str,
        /// Rows that ask.
        rows: usize,
        /// Query heads.
        heads: usize,
        /// Key-value heads.
        kv_heads: usize,
        /// Columns of a head.
        head_dim: usize,
    },
}

impl Tunable {
    /// Its class: what has about as many rows shares one.
    pub fn class(&self) -> String {
        match self {
            Self::Product { straight, encoding, rows, cols, depth } => {
                let cols: Vec<String> = cols.iter().map(usize::to_string).collect();
                let (kind, encoding) = (if *straight { "nn" } else { "nt" }, encoding.name());
                format!("{kind} {encoding} {}x{}x{depth}", rows.next_power_of_two(), cols.join("+"))
            }
            Self::Attention { kernel, rows, heads, kv_heads, head_dim } => {
                format!("attention {kernel} {}x{heads}/{kv_heads}x{head_dim}", rows.next_power_of_two())
            }
        }
    }

    /// The forms that it has where kernels may use subgroups of so many lanes.
    pub fn forms(&self, subgroup: u32) -> Vec<Form> {
        let has = |form: &Form| match self {
            Self::Product { .. } => *form != Form::Subgroup || subgroup > 0,
            Self::Attention { .. } => match form {
                Form::Plain => false,
                Form::Tile | Form::Small => subgroup == 0,
                Form::Subgroup => subgroup > 0,
            },
        };
        Form::ALL.into_iter().filter(has).collect()
    }
}

/// The forms in use, by class of work: what a device was found to do fastest.
pub type Choices = BTreeMap<String, Form>;

/// The choices of one context, and the work that was recorded on it.
pub(super) struct Forms {
    /// The form of what was not tried.
    untried: Form,
    choices: Rc<RefCell<Choices>>,
    forced: Cell<Option<Form>>,
    seen: RefCell<BTreeSet<Tunable>>,
}

impl Forms {
    /// Without a choice yet, for an adapter that is a processor or a GPU. Of a GPU's forms the small tiles are the fastest
    /// more often than others, and never far behind.
    pub fn new(software: bool) -> Self {
        Self {
            untried: if software { Form::Plain } else { Form::Small },
            choices: Rc::default(),
            forced: Cell::default(),
            seen: RefCell::default(),
        }
    }

    /// The same choices, with nothing recorded yet.
    pub fn rehearsal(&self) -> Self {
        let (untried, forced) = (self.untried, self.forced.clone());
        Self { untried, choices: self.choices.clone(), forced, seen: RefCell::default() }
    }

    /// The form for some work where kernels may use subgroups of so many lanes.
    pub fn pick(&self, work: Tunable, subgroup: u32) -> Form {
        let chosen = self.forced.get().or_else(|| self.choices.borrow().get(&work.class()).copied());
        let forms = work.forms(subgroup);
        self.seen.borrow_mut().insert(work);
        let usual = if subgroup > 0 { Form::Subgroup } else { self.untried };
        [chosen, Some(usual)].into_iter().flatten().find(|form| forms.contains(form)).unwrap_or(forms[0])
    }

    pub fn force(&self, form: Option<Form>) {
        self.forced.set(form);
    }

    pub fn choices(&self) -> Choices {
        self.choices.borrow().clone()
    }

    pub fn choose(&self, choices: Choices) {
        self.choices.borrow_mut().extend(choices);
    }

    pub fn seen(&self) -> Vec<Tunable> {
        self.seen.borrow().iter().cloned().collect()
    }
}
