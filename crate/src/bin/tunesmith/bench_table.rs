//! The bench for people: Markdown, so that it can go into a document as it is.

use serde_json::Value;

/// Prints each measurement as a row, under a heading where a new table begins.
#[derive(Default)]
pub struct Table {
    heading: String,
    widths: Vec<usize>,
}

impl Table {
    /// The lines of one measurement.
    pub fn text(&mut self, m: &Value) -> String {
        match m["what"].as_str().unwrap_or_default() {
            "start" => start(m),
            "peak" => format!(
                "Peak: {} GFLOP/s of arithmetic, {} GB/s of memory traffic.\n",
                number(&m["gflops"], 1),
                number(&m["gbs"], 1)
            ),
            "kernel" => self.row(
                "Each op by itself: the median, the fastest, and the rates of the fastest for the least work that it is",
                &[
                    "op                                  ",
                    "    T",
                    "direction",
                    "      ms",
                    " fastest",
                    "GFLOP/s",
                    "of peak",
                    "  GB/s",
                    "of peak",
                ],
                &[
                    word(&m["op"]),
                    number(&m["tokens"], 0),
                    word(&m["direction"]),
                    number(&m["ms"], 3),
                    number(&m["min_ms"], 3),
                    number(&m["gflops"], 1),
                    percent(&m["alu_share"]),
                    number(&m["gbs"], 2),
                    percent(&m["copy_share"]),
                ],
            ),
            "tune" => self.row(
                "Each product in each of its forms, in ms (direction, encoding, rows x columns x depth), and attention both ways",
                &["work                          ", "   plain", "    tile", "   small", "subgroup", "fastest "],
                &[
                    word(&m["work"]),
                    number(&m["ms"]["plain"], 3),
                    number(&m["ms"]["tile"], 3),
                    number(&m["ms"]["small"], 3),
                    number(&m["ms"]["subgroup"], 3),
                    word(&m["fastest"]),
                ],
            ),
            "step" | "forward" => self.row(
                "A step of LoRA on 7 linears, and a forward pass with its loss; every row but the last is a target",
                &[
                    "pass   ",
                    "    T",
                    "      ms",
                    "  fastest",
                    "  slowest",
                    "encode ms",
                    "submitted ms",
                    "processor ms",
                    "tokens/s",
                    "GFLOP/s",
                    "of peak",
                    "dispatches",
                    "submits",
                    "planned MB",
                    "device MB",
                    "   loss",
                    "step/forward",
                ],
                &[
                    word(&m["what"]),
                    number(&m["tokens"], 0),
                    number(&m["ms"], 1),
                    number(&m["min_ms"], 1),
                    number(&m["max_ms"], 1),
                    number(&m["encode_ms"], 1),
                    number(&m["submitted_ms"], 1),
                    number(&m["processor_ms"], 0),
                    number(&m["tokens_per_second"], 1),
                    number(&m["gflops"], 1),
                    percent(&m["alu_share"]),
                    number(&m["dispatches"], 0),
                    number(&m["submits"], 0),
                    megabytes(&m["planned_bytes"]),
                    megabytes(&m["allocated_bytes"]),
                    number(&m["loss"], 3),
                    number(&m["step_per_forward"], 2),
                ],
            ),
            "profile" => self.profile(m),
            "decode" => format!(
                "\nGeneration, {} at once: prompts of {} tokens in {} ms ({} tokens/s), then {} ms a token of each ({} tokens/s).\n",
                m["slots"],
                m["prompt_tokens"],
                number(&m["prefill_ms"], 1),
                number(&m["prefill_tokens_per_second"], 1),
                number(&m["ms"], 1),
                number(&m["tokens_per_second"], 1)
            ),
            "end" => format!(
                "\nTook {} s; load average at the end {}; the process had {} MB at most.\n",
                number(&m["seconds"], 0),
                load(&m["load"]),
                megabytes(&m["process_peak_bytes"])
            ),
            other => unreachable!("there is no measurement {other}"),
        }
    }

    fn profile(&mut self, m: &Value) -> String {
        let all = m["ms"].as_f64().unwrap_or_default();
        let what = match m["part"].as_str() {
            Some("decode") => format!("a token of {} sequences", m["tokens"]),
            _ => format!("a step of {} tokens", m["tokens"]),
        };
        let heading = format!("Where {what} goes, one dispatch at a time: {all:.1} ms");
        let share = |ms: &Value| percent(&(ms.as_f64().unwrap_or_default() / all).into());
        let kernels = m["kernels"].as_array().map(Vec::as_slice).unwrap_or_default();
        let row = |kernel: &Value| {
            let cells = [
                word(&kernel["kernel"]),
                number(&kernel["dispatches"], 0),
                number(&kernel["ms"], 2),
                share(&kernel["ms"]),
            ];
            self.row(&heading, &["kernel                          ", "dispatches", "       ms", " share"], &cells)
        };
        kernels.iter().map(row).collect()
    }

    /// A row, and before it the head of its table where that is a new one. Columns are as wide as their names.
    fn row(&mut self, heading: &str, columns: &[&str], cells: &[String]) -> String {
        let mut text = String::new();
        if self.heading != heading {
            self.heading = heading.to_owned();
            self.widths = columns.iter().map(|column| column.chars().count()).collect();
            // The first column holds words, the others numbers.
            let rule = |(index, width): (usize, &usize)| match index {
                0 => "-".repeat(*width),
                _ => format!("{}:", "-".repeat(width - 1)),
            };
            let rules: Vec<String> = self.widths.iter().enumerate().map(rule).collect();
            text = format!("\n{heading}:\n\n| {} |\n| {} |\n", columns.join(" | "), rules.join(" | "));
        }
        let pad = |(index, (cell, &width)): (usize, (&String, &usize))| match index {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        };
        let cells: Vec<String> = cells.iter().zip(&self.widths).enumerate().map(pad).collect();
        text + &format!("| {} |\n", cells.join(" | "))
    }
}

fn start(m: &Value) -> String {
    let (model, device, machine) = (&m["model"], &m["device"], &m["machine"]);
    format!(
        "{} ({}, {:.1} M parameters) on {} ({}{}, {}); {}, {} cores; load average at the start {}.\n",
        word(&model["name"]),
        word(&model["quantization"]),
        model["parameters"].as_f64().unwrap_or_default() / 1e6,
        word(&device["name"]),
        word(&device["backend"]),
        if device["software"] == true { ", in software" } else { "" },
        word(&device["driver"]),
        machine["cpu"].as_str().unwrap_or("a processor without a name"),
        machine["cores"],
        load(&m["load"])
    )
}

/// What is not known is a dash, in every cell.
const UNKNOWN: &str = "–";

fn word(value: &Value) -> String {
    value.as_str().unwrap_or(UNKNOWN).to_owned()
}

fn number(value: &Value, digits: usize) -> String {
    value.as_f64().map_or(UNKNOWN.into(), |value| format!("{value:.digits$}"))
}

fn percent(value: &Value) -> String {
    value.as_f64().map_or(UNKNOWN.into(), |value| format!("{:.1} %", value * 100.0))
}

fn megabytes(value: &Value) -> String {
    value.as_f64().map_or(UNKNOWN.into(), |bytes| format!("{:.1}", bytes / 1e6))
}

fn load(value: &Value) -> String {
    number(&value[0], 2)
}
