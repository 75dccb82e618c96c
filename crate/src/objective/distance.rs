//! How far a model is from its reference.

/// The estimate k3 of it at a token whose log-probability in the reference is higher by `d`: `e^d - d - 1`, in nats. It is
/// never below 0, and its mean over the model's own tokens is the KL divergence (Schulman 2020, "Approximating KL divergence").
pub fn k3(d: f64) -> f64 {
    d.exp() - d - 1.0
}
