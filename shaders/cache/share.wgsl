// Copies what slots of a cache begin with from other slots. sources: for each slot (the slot to copy from, rows to copy); caches:
// [slots, slot_rows, C].

struct Params {
    // Rows of a slot, and those of them that may be copied.
    slot_rows: u32,
    rows: u32,
    // C, in vec4.
    channels: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> sources: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> keys: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> values: array<vec4<f32>>;

// One invocation copies four numbers of a key and of a value.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.count {
        return;
    }
    let row = i / params.channels % params.rows;
    let slot = i / params.channels / params.rows;
    let source = sources[slot];
    if source.x == slot || row >= source.y {
        return;
    }
    let c = i % params.channels;
    let at = (slot * params.slot_rows + row) * params.channels + c;
    let there = (source.x * params.slot_rows + row) * params.channels + c;
    keys[at] = keys[there];
    values[at] = values[there];
}
