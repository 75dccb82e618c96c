//! Subgroups: the lanes of an adapter that run in step and can read each other's registers.
//!
//! An adapter that runs on a processor has its vector's lanes, 4 or 8 of them, and there a broadcast is far cheaper than
//! workgroup memory with its barriers. The subgroups of GPUs are wider, and their workgroup memory is fast: they get the
//! plain kernels.

#[cfg(not(target_arch = "wasm32"))]
use super::adapter::is_software;

/// Lanes of a subgroup that kernels are written for.
const LANES: [u32; 2] = [4, 8];

/// Subgroups that a device is asked for.
pub(super) struct Wanted {
    /// The feature, where wgpu knows it.
    pub features: wgpu::Features,
    #[cfg(not(target_arch = "wasm32"))]
    lanes: u32,
    /// Whether the browser is asked for them.
    #[cfg(target_arch = "wasm32")]
    asked: bool,
}

impl Wanted {
    /// None at all.
    pub fn none() -> Self {
        Self {
            features: wgpu::Features::empty(),
            #[cfg(not(target_arch = "wasm32"))]
            lanes: 0,
            #[cfg(target_arch = "wasm32")]
            asked: false,
        }
    }

    /// Those of a software adapter, where there are kernels for that many lanes and it has no other number.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn of(adapter: &wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        let fixed = info.subgroup_min_size == info.subgroup_max_size && LANES.contains(&info.subgroup_min_size);
        if fixed && is_software(&info) && adapter.features().contains(wgpu::Features::SUBGROUP) {
            Self { features: wgpu::Features::SUBGROUP, lanes: info.subgroup_min_size }
        } else {
            Self::none()
        }
    }

    /// As on other platforms, but that the feature is added behind wgpu's back when the device is asked for.
    #[cfg(target_arch = "wasm32")]
    pub fn of(_: &wgpu::Adapter) -> Self {
        browser::add_subgroups();
        Self { asked: true, ..Self::none() }
    }

    /// Lanes of the subgroups that kernels may use, once the device is there; 0 where they may use none.
    pub fn lanes(&self) -> u32 {
        #[cfg(not(target_arch = "wasm32"))]
        return self.lanes;
        #[cfg(target_arch = "wasm32")]
        return if self.asked { Some(browser::subgroup_lanes()).filter(|n| LANES.contains(n)).unwrap_or(0) } else { 0 };
    }
}

#[cfg(target_arch = "wasm32")]
mod browser {
    use wasm_bindgen::prelude::wasm_bindgen;

    #[wasm_bindgen(module = "/src/gpu/subgroups.js")]
    extern "C" {
        #[wasm_bindgen(js_name = addSubgroups)]
        pub fn add_subgroups();
        #[wasm_bindgen(js_name = subgroupLanes)]
        pub fn subgroup_lanes() -> u32;
    }
}
