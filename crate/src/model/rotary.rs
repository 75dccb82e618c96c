//! How far a position turns the pairs of queries and keys, and how that is stretched for longer contexts.

use std::f64::consts::TAU;

use serde::Serialize;

use crate::Result;
use crate::format::encoding::Encoding;
use crate::format::gguf::Gguf;
use crate::format::quant::dequantize;

/// The tensor of a GGUF file that divides the frequencies of pairs.
const FACTORS: &str = "rope_freqs.weight";
/// The same where there is another for contexts past the original one.
const SHORT_FACTORS: &str = "rope_factors_short.weight";

/// The frequencies of rotary position embedding (Su et al. 2021, arXiv:2104.09864).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rotary {
    /// Pair i of a head of D numbers turns by `base^(-2i/D)` a position, before scaling.
    #[serde(rename = "rope_base")]
    pub base: f64,
    /// What becomes of that.
    #[serde(rename = "rope_scaling", skip_serializing_if = "Scaling::is_none")]
    pub scaling: Scaling,
    /// By how much each pair's frequency is divided, which is how Llama 3 stretches; empty where nothing is.
    #[serde(rename = "rope_factors", skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<f32>,
    /// Numbers of a head that are turned, the first ones; `None` where all are.
    #[serde(rename = "rope_dim", skip_serializing_if = "Option::is_none")]
    pub dim: Option<usize>,
    /// Positions for which all of this holds.
    #[serde(skip)]
    pub context: usize,
}

/// How the frequencies were stretched after training.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Scaling {
    /// Not at all.
    None,
    /// All alike (Chen et al. 2023, arXiv:2306.15595).
    Linear {
        /// By how much.
        factor: f64,
    },
    /// The slow ones, and those between in part (Peng et al. 2023, arXiv:2309.00071).
    Yarn {
        /// By how much, at most.
        factor: f64,
        /// Positions before it was stretched.
        original_context: f64,
        /// A pair that turns so many times in that context, or more, stays as it is.
        beta_fast: f64,
        /// One that turns so many times or fewer is stretched by all of the factor.
        beta_slow: f64,
        /// Times what the paper multiplies queries and keys by.
        attention_factor: f64,
    },
    /// By the factors, which are searched for: one set for contexts as in training, and another for longer ones, which we do
    /// not go to (Ding et al. 2024, arXiv:2402.13753).
    LongRope {
        /// What turned queries and keys are multiplied by.
        attention_factor: f64,
    },
}

impl Scaling {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl Rotary {
    /// Every pair of a head, by this base, as far as anyone likes.
    pub fn plain(base: f64) -> Self {
        Self { base, scaling: Scaling::None, factors: Vec::new(), dim: None, context: usize::MAX }
    }

    /// Reads and checks the metadata of this architecture, for heads of dimension `head_dim`.
    ///
    /// # Errors
    /// [`crate::Error::Format`] for a scaling that is not supported, by name, and for impossible numbers.
    pub fn from_gguf(gguf: &Gguf, architecture: &str, head_dim: usize) -> Result<Self> {
        let key = |name: &str| format!("{architecture}.rope.{name}");
        let number = |name: &str| Ok(gguf.get::<f32>(&key(name))?.map(f64::from));
        let above_zero = |name: &str, value: f64| {
            if value.is_finite() && value >= f64::MIN_POSITIVE {
                return Ok(value);
            }
            Err(gguf.invalid(format!("{} is {value}, and a number above 0 was expected", key(name))))
        };
        let dim = gguf.get::<usize>(&key("dimension_count"))?.filter(|&dim| dim != head_dim);
        if let Some(dim) = dim.filter(|&dim| dim == 0 || dim > head_dim || !dim.is_multiple_of(2)) {
            let what = format!("{} is {dim}, and an even number up to {head_dim} was expected", key("dimension_count"));
            return Err(gguf.invalid(what));
        }
        let pairs = dim.unwrap_or(head_dim) / 2;
        let base = above_zero("freq_base", number("freq_base")?.unwrap_or(10_000.0))?;
        let kind = gguf.get::<&str>(&key("scaling.type"))?;
        if gguf.find_tensor(SHORT_FACTORS).is_some() {
            let context = gguf.require::<usize>(&key("scaling.original_context_length"))?;
            let attention_factor = number("scaling.attn_factor")?.unwrap_or(1.0);
            let attention_factor = above_zero("scaling.attn_factor", attention_factor)?;
            let scaling = Scaling::LongRope { attention_factor };
            return Ok(Self { base, scaling, factors: factors(gguf, SHORT_FACTORS, pairs)?, dim, context });
        }
        let factor = above_zero("scaling.factor", number("scaling.factor")?.unwrap_or(1.0))?;
        let scaling = match kind {
            // Without a type, a factor scales linearly.
            None | Some("linear") if factor != 1.0 => Scaling::Linear { factor },
            None | Some("none" | "linear") => Scaling::None,
            Some("yarn") => {
                if number("scaling.yarn_log_multiplier")?.is_some_and(|multiplier| multiplier != 0.0) {
                    return Err(gguf.unsupported("rotary scaling (yarn with a log multiplier)"));
                }
                let context = "scaling.original_context_length";
                let original = gguf.require::<usize>(&key(context))? as f64;
                let or = |name: &str, default: f64| above_zero(name, number(name)?.unwrap_or(default));
                Scaling::Yarn {
                    factor,
                    original_context: above_zero(context, original)?,
                    beta_fast: or("scaling.yarn_beta_fast", 32.0)?,
                    beta_slow: or("scaling.yarn_beta_slow", 1.0)?,
                    attention_factor: or("scaling.attn_factor", 1.0)?,
                }
            }
            Some(other) => return Err(gguf.unsupported(&format!("rotary scaling ({other})"))),
        };
        Ok(Self { base, scaling, factors: factors(gguf, FACTORS, pairs)?, dim, context: usize::MAX })
    }

    /// That of local blocks which turn by a base of their own, and are not stretched: the file's, or else the architecture's.
    ///
    /// # Errors
    /// [`crate::Error::Format`] for an impossible number.
    pub fn of_local_blocks(gguf: &Gguf, architecture: &str, base: f64) -> Result<Self> {
        let key = format!("{architecture}.rope.freq_base_swa");
        let base = gguf.get::<f32>(&key)?.map_or(base, f64::from);
        if base.is_finite() && base >= f64::MIN_POSITIVE {
            return Ok(Self::plain(base));
        }
        Err(gguf.invalid(format!("{key} is {base}, and a number above 0 was expected")))
    }

    /// How far each pair of a head of dimension `head_dim` turns a position, in radians, rounded as the models were
    /// trained with; 0 for those that stay as they are.
    pub fn frequencies(&self, head_dim: usize) -> Vec<f32> {
        let dim = self.dim.unwrap_or(head_dim);
        let frequency = |pair: usize| {
            if 2 * pair >= dim {
                return 0.0;
            }
            let plain = self.base.powf(-2.0 * pair as f64 / dim as f64);
            let plain = self.factors.get(pair).map_or(plain, |&factor| plain / f64::from(factor));
            match self.scaling {
                Scaling::None | Scaling::LongRope { .. } => plain,
                Scaling::Linear { factor } => plain / factor,
                Scaling::Yarn { factor, .. } => {
                    let kept = self.kept(pair, dim);
                    plain * kept + plain / factor * (1.0 - kept)
                }
            }
        };
        (0..head_dim / 2).map(|pair| frequency(pair) as f32).collect()
    }

    /// How much of a pair's frequency YaRN leaves as it is, from 0 to 1.
    fn kept(&self, pair: usize, head_dim: usize) -> f64 {
        let Scaling::Yarn { original_context, beta_fast, beta_slow, .. } = self.scaling else { return 1.0 };
        // The pair that turns so many times in the context, were there one between every two.
        let pair_of = |turns: f64| head_dim as f64 * (original_context / (turns * TAU)).ln() / (2.0 * self.base.ln());
        let first = pair_of(beta_fast).floor().max(0.0);
        let last = pair_of(beta_slow).ceil().min(head_dim as f64 - 1.0);
        1.0 - ((pair as f64 - first) / (last - first).max(1e-3)).clamp(0.0, 1.0)
    }

    /// What turned queries and keys are multiplied by.
    pub fn magnitude(&self) -> f64 {
        match self.scaling {
            Scaling::Yarn { factor, attention_factor, .. } if factor > 1.0 => {
                attention_factor * (0.1 * factor.ln() + 1.0)
            }
            Scaling::Yarn { attention_factor, .. } | Scaling::LongRope { attention_factor } => attention_factor,
            Scaling::None | Scaling::Linear { .. } => 1.0,
        }
    }
}

/// The divisors of so many pairs; none where the file has none.
fn factors(gguf: &Gguf, name: &str, pairs: usize) -> Result<Vec<f32>> {
    let Some(tensor) = gguf.find_tensor(name) else { return Ok(Vec::new()) };
    if tensor.dims != [pairs as u64] || gguf.encoding(tensor)? != Encoding::F32 {
        let found = format!("{} of shape {:?}", tensor.ty.name(), tensor.dims);
        return Err(gguf.invalid(format!("{name} is {found}, and {pairs} numbers in F32 were expected")));
    }
    let mut factors = vec![0.0; pairs];
    gguf.read_tensor_chunks(tensor, 8 << 20, |first, bytes| {
        dequantize(tensor.ty, bytes, &mut factors[first as usize..][..bytes.len() / 4])
    })?;
    match factors.iter().find(|factor| !(factor.is_finite() && **factor > 0.0)) {
        Some(wrong) => Err(gguf.invalid(format!("{name} holds {wrong}, and numbers above 0 were expected"))),
        None => Ok(factors),
    }
}
