//! AdaLoRA's budget of ranks (Zhang et al. 2023, arXiv:2303.10512), as PEFT spends it.

use std::collections::BTreeMap;

use super::{Matrix, Tensors};

/// When ranks go, in steps.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Ranks of a layer at first.
    pub init_r: usize,
    /// Ranks of a layer on average at last.
    pub target_r: usize,
    /// All steps.
    pub total_step: usize,
    /// Steps before the first rank goes.
    pub tinit: usize,
    /// Steps after the last.
    pub tfinal: usize,
    /// Steps from one masking to the next.
    pub delta_t: usize,
    /// Decays of the sensitivity and of its uncertainty.
    pub betas: [f64; 2],
}

/// What is known of each tensor's importance, and the ranks that are left.
#[derive(Clone, Debug)]
pub struct Allocator {
    schedule: Schedule,
    sensitivity: Tensors,
    uncertainty: Tensors,
    /// By the name of the layer's `lora_E`, once some are gone.
    pub kept: BTreeMap<String, Vec<bool>>,
}

/// The means of the rows, one number each.
fn row_means(x: &Matrix) -> Vec<f64> {
    (0..x.rows).map(|row| x.row(row).iter().sum::<f64>() / x.cols as f64).collect()
}

/// The means of the columns.
fn column_means(x: &Matrix) -> Vec<f64> {
    (0..x.cols).map(|column| (0..x.rows).map(|row| x.row(row)[column]).sum::<f64>() / x.rows as f64).collect()
}

impl Allocator {
    /// Before the first step.
    pub fn new(schedule: Schedule, tensors: &Tensors) -> Self {
        let zeros = |x: &Matrix| Matrix::zeros(x.rows, x.cols);
        let zeros: Tensors = tensors.iter().map(|(name, x)| (name.clone(), zeros(x))).collect();
        Self { schedule, sensitivity: zeros.clone(), uncertainty: zeros, kept: BTreeMap::new() }
    }

    /// How many ranks may be left at a step, of all `layers` layers.
    pub fn budget(&self, step: usize, layers: usize) -> usize {
        let s = self.schedule;
        let (first, last) = (s.init_r * layers, s.target_r * layers);
        if step <= s.tinit {
            return first;
        }
        if step > s.total_step - s.tfinal {
            return last;
        }
        let left = 1.0 - (step - s.tinit) as f64 / (s.total_step - s.tfinal - s.tinit) as f64;
        ((first - last) as f64 * left.powi(3) + last as f64) as usize
    }

    /// After the update of a step, with its clipped gradients: sets the singular values that must go to 0.
    pub fn after(&mut self, step: usize, tensors: &mut Tensors, gradients: &Tensors) {
        let s = self.schedule;
        let end = s.total_step - s.tfinal;
        if step < end {
            let [b1, b2] = s.betas;
            for (name, value) in tensors.iter() {
                let now = value.zip(&gradients[name], |value, gradient| (value * gradient).abs());
                let mean = self.sensitivity[name].zip(&now, |mean, now| b1 * mean + (1.0 - b1) * now);
                let off = now.zip(&mean, |now, mean| (now - mean).abs());
                let spread = self.uncertainty[name].zip(&off, |spread, off| b2 * spread + (1.0 - b2) * off);
                self.sensitivity.insert(name.clone(), mean);
                self.uncertainty.insert(name.clone(), spread);
            }
        }
        if step == end || (step > s.tinit && step < end && step.is_multiple_of(s.delta_t)) {
            self.choose(step, tensors);
            self.mask(tensors);
        } else if step > end {
            self.mask(tensors);
        }
    }

    fn choose(&mut self, step: usize, tensors: &Tensors) {
        let importance = |name: &str| self.sensitivity[name].zip(&self.uncertainty[name], |a, b| a * b);
        let layers = tensors.keys().filter_map(|name| name.strip_suffix("lora_E"));
        let score = |layer: &str| {
            let value = importance(&format!("{layer}lora_E")).data;
            let right = row_means(&importance(&format!("{layer}lora_A")));
            let left = column_means(&importance(&format!("{layer}lora_B")));
            (0..value.len()).map(|rank| value[rank] + right[rank] + left[rank]).collect::<Vec<f64>>()
        };
        let scores: BTreeMap<String, Vec<f64>> = layers.map(|layer| (format!("{layer}lora_E"), score(layer))).collect();
        let mut sorted: Vec<f64> = scores.values().flatten().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let gone = sorted.len() - self.budget(step, scores.len());
        let threshold = sorted[gone - 1];
        let keep = |scores: Vec<f64>| scores.into_iter().map(|score| score > threshold).collect();
        self.kept = scores.into_iter().map(|(name, scores)| (name, keep(scores))).collect();
    }

    fn mask(&self, tensors: &mut Tensors) {
        for (name, kept) in &self.kept {
            let values = &mut tensors.get_mut(name).expect("a layer has its singular values").data;
            values.iter_mut().zip(kept).filter(|(_, kept)| !**kept).for_each(|(value, _)| *value = 0.0);
        }
    }
}
