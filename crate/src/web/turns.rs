//! How the page leaves a step in the middle.

use wasm_bindgen::prelude::*;

use super::Session;
use crate::gpu;

/// Leaves the work of the device between two submits, and takes it up again, also while a call of the session is on its way.
#[wasm_bindgen]
pub struct Turns(gpu::Turns);

#[wasm_bindgen]
impl Turns {
    /// Leaves the work at the next place where that can be done. Promises `true` when the device has nothing to do any more, and
    /// `false` where [`Turns::release`] came first.
    pub async fn hold(&self) -> bool {
        self.0.hold().await
    }

    /// Takes it up again.
    pub fn release(&self) {
        self.0.release();
    }

    /// Milliseconds for which work was held so far.
    #[wasm_bindgen(js_name = heldMs)]
    pub fn held_ms(&self) -> f64 {
        self.0.held_ms()
    }
}

#[wasm_bindgen]
impl Session {
    /// What leaves the work of this session's device.
    pub fn turns(&self) -> Turns {
        let turns = self.context.turns();
        turns.watch();
        Turns(turns.clone())
    }
}
