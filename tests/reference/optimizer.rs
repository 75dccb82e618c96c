//! AdamW with clipping by the global norm, as PyTorch does both.

/// The optimizer's numbers and moments.
#[derive(Clone, Debug)]
pub struct AdamW {
    /// First moments.
    pub m: Vec<f64>,
    /// Second moments.
    pub v: Vec<f64>,
    /// Steps done.
    pub steps: i32,
    /// Decays of the moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Whether it pulls at each parameter.
    pub decayed: Vec<bool>,
    /// Gradients of a larger norm are scaled down to it; 0 leaves all as they are.
    pub max_grad_norm: f64,
}

impl AdamW {
    /// Zero moments for `count` parameters, all of which decay, PyTorch's betas and epsilon.
    pub fn new(count: usize, weight_decay: f64, max_grad_norm: f64) -> Self {
        let zeros = vec![0.0; count];
        Self {
            m: zeros.clone(),
            v: zeros,
            steps: 0,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay,
            decayed: vec![true; count],
            max_grad_norm,
        }
    }

    /// One step; returns the norm of the gradients before clipping.
    pub fn step(&mut self, values: &mut [f64], gradients: &[f64], learning_rate: f64) -> f64 {
        self.steps += 1;
        let norm = gradients.iter().map(|g| g * g).sum::<f64>().sqrt();
        let factor = if self.max_grad_norm > 0.0 { (self.max_grad_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
        let [unbias1, unbias2] = self.betas.map(|beta| 1.0 - beta.powi(self.steps));
        for (i, value) in values.iter_mut().enumerate() {
            let g = factor * gradients[i];
            self.m[i] += (1.0 - self.betas[0]) * (g - self.m[i]);
            self.v[i] += (1.0 - self.betas[1]) * (g * g - self.v[i]);
            if self.decayed[i] {
                *value -= learning_rate * self.weight_decay * *value;
            }
            *value -= learning_rate / unbias1 * self.m[i] / ((self.v[i] / unbias2).sqrt() + self.eps);
        }
        norm
    }
}
