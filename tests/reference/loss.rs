//! Cross-entropy.

/// `log(sum(exp(x)))`.
pub fn log_sum_exp(x: &[f64]) -> f64 {
    let top = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    top + x.iter().map(|x| (x - top).exp()).sum::<f64>().ln()
}

/// The negative log-likelihood, in nats, of `label` under `softmax(logits)`, and its gradient to the logits.
pub fn cross_entropy(logits: &[f64], label: usize) -> (f64, Vec<f64>) {
    let lse = log_sum_exp(logits);
    let mut gradient: Vec<f64> = logits.iter().map(|x| (x - lse).exp()).collect();
    gradient[label] -= 1.0;
    (lse - logits[label], gradient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{Matrix, check_gradient};

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let logits = Matrix { rows: 1, cols: 7, data: vec![0.3, -2.0, 1.5, 0.0, 4.0, -0.7, 2.2] };
        let (_, gradient) = cross_entropy(&logits.data, 3);
        let gradient = Matrix { data: gradient, ..logits };
        check_gradient("cross-entropy", &logits, &gradient, 7, |x| cross_entropy(&x.data, 3).0);
    }
}
