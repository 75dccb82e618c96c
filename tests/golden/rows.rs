//! The row order of q and k: PEFT and HF keep a head's rotary pairs half-split, GGUF keeps them interleaved.

/// PEFT's half-split rows -> GGUF's interleaved pairs, of the [out, width] weight or `lora_B` of q or k, or of the
/// gradient of one: HF row h·D + p·D/2 + j becomes GGUF row h·D + 2j + p.
pub fn permute_rows(hf: &[f32], heads: usize, width: usize) -> Vec<f32> {
    reorder(hf, heads, width, |j, p, half| (p * half + j, 2 * j + p))
}

/// The inverse of [`permute_rows`].
pub fn unpermute_rows(gguf: &[f32], heads: usize, width: usize) -> Vec<f32> {
    reorder(gguf, heads, width, |j, p, half| (2 * j + p, p * half + j))
}

fn reorder(rows: &[f32], heads: usize, width: usize, pair: fn(usize, usize, usize) -> (usize, usize)) -> Vec<f32> {
    let dim = rows.len() / (heads * width);
    assert_eq!(rows.len(), heads * dim * width, "rows are [heads * D, width]");
    assert_eq!(dim % 2, 0, "a head holds pairs");
    let mut out = vec![0.0; rows.len()];
    for head in 0..heads {
        for j in 0..dim / 2 {
            for p in 0..2 {
                let (from, to) = pair(j, p, dim / 2);
                let (from, to) = ((head * dim + from) * width, (head * dim + to) * width);
                out[to..to + width].copy_from_slice(&rows[from..from + width]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_become_neighbours_and_go_back() {
        // Two heads of D = 4, two values a row: rows 0..8, each [row, row + 0.5].
        let hf: Vec<f32> = (0..8).flat_map(|r| [r as f32, r as f32 + 0.5]).collect();
        let gguf = permute_rows(&hf, 2, 2);
        let order: Vec<f32> = gguf.iter().step_by(2).copied().collect();
        assert_eq!(order, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert_eq!(unpermute_rows(&gguf, 2, 2), hf);
    }
}
