//! The forms of a product: kernels that compute the same in ways that suit different adapters. All but the
//! last give the same bits, so on a GPU what was found to be fastest decides nothing but the time.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::format::quant::Encoding;

/// How a product is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Rows shared through workgroup memory: right everywhere.
    Plain,
    /// Tiles of both matrices in workgroup memory, for GPUs.
    Tile,
    /// Smaller ones, for products that have few.
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

/// A product as far as its speed depends on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Product {
    /// Whether the packed matrix stands as it is, `a b`, and not transposed, `a b^T`.
    pub straight: bool,
    /// Of the packed matrix.
    pub encoding: Encoding,
    /// Rows of the result.
    pub rows: usize,
    /// Its columns, in segments.
    pub cols: Vec<usize>,
    /// What is summed over.
    pub depth: usize,
}

impl Product {
    /// Its class: products of about as many rows share one.
    pub fn class(&self) -> String {
        let cols: Vec<String> = self.cols.iter().map(usize::to_string).collect();
        let (kind, encoding) = (if self.straight { "nn" } else { "nt" }, self.encoding.name());
        format!("{kind} {encoding} {}x{}x{}", self.rows.next_power_of_two(), cols.join("+"), self.depth)
    }
}

/// The forms in use, by class of product: what a device was found to do fastest.
pub type Choices = BTreeMap<String, Form>;

/// The choices of one context, and the products that were recorded on it.
pub(super) struct Forms {
    /// The form of what was not tried.
    untried: Form,
    choices: Rc<RefCell<Choices>>,
    forced: Cell<Option<Form>>,
    seen: RefCell<BTreeSet<Product>>,
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

    /// The form for a product where kernels may use subgroups of so many lanes.
    pub fn pick(&self, product: Product, subgroup: u32) -> Form {
        let chosen = self.forced.get().or_else(|| self.choices.borrow().get(&product.class()).copied());
        self.seen.borrow_mut().insert(product);
        match chosen {
            Some(Form::Subgroup) | None if subgroup > 0 => Form::Subgroup,
            Some(form @ (Form::Tile | Form::Small)) => form,
            Some(_) => Form::Plain,
            None => self.untried,
        }
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

    pub fn seen(&self) -> Vec<Product> {
        self.seen.borrow().iter().cloned().collect()
    }
}
