//! The one error type. Every variant names the thing that is wrong, says what was expected, and
//! [`Error::help`] says what to do about it.

use std::fmt;

/// Shorthand for a result with Tunesmith's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, in words a person can act on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {what}")]
    Io {
        /// The path or file name as the person gave it.
        path: String,
        /// What the system said.
        what: String,
    },
    /// A model or adapter file breaks its own format.
    #[error("{file}: {what}")]
    Format {
        /// The file.
        file: String,
        /// What is wrong, with the offset, tensor or field.
        what: String,
        /// What to do.
        help: String,
    },
    /// The model's architecture is not one we run.
    #[error("{file}: the architecture \"{found}\" is not supported")]
    Architecture {
        /// The file.
        file: String,
        /// The architecture it names.
        found: String,
        /// The architectures that are supported, comma separated.
        supported: String,
    },
    /// A tensor's encoding is not one we read.
    #[error("{file}: tensor {tensor} is encoded as {found}, which is not supported")]
    Quantization {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// The encoding's name.
        found: String,
        /// The encodings that are supported, comma separated.
        supported: String,
    },
    /// A training example, or a line of a data file, is wrong.
    #[error("{}: {what}", Place(file, *line))]
    Data {
        /// The file, or "examples" when typed in the page.
        file: String,
        /// 1-based line (of a file) or row (of a table), where there is one.
        line: Option<usize>,
        /// What is wrong.
        what: String,
        /// What to do.
        help: String,
    },
    /// A field of the run config has a value that cannot be used.
    #[error("{field}: {what}")]
    Config {
        /// The field, by its name in `run.json`.
        field: String,
        /// What is wrong with the value.
        what: String,
        /// What to do.
        help: String,
    },
    /// A key that nobody knows.
    #[error("unknown {kind} \"{key}\"")]
    UnknownKey {
        /// What sort of key it is: "config key", "method", "module".
        kind: String,
        /// The key as it was written.
        key: String,
        /// The nearest name that is known, if any is near.
        nearest: Option<String>,
    },
    /// The chat template of the model failed.
    #[error("chat template: {what}")]
    Template {
        /// What minijinja, or the template itself through `raise_exception`, said; or what it does with a reply.
        what: String,
        /// What to do.
        help: String,
    },
    /// An adapter does not fit the model or its own config.
    #[error("{file}: {what}")]
    Adapter {
        /// The adapter folder or file.
        file: String,
        /// What does not fit, with the tensor or field.
        what: String,
        /// What to do.
        help: String,
    },
    /// There is no GPU adapter to run on.
    #[error("no GPU adapter: {what}")]
    NoAdapter {
        /// What was asked for and what was found.
        what: String,
        /// What to do.
        help: String,
    },
    /// A request goes past a limit of the device.
    #[error("{what} needs {needed} bytes, and the device's limit ({limit_name}) is {limit}")]
    Limit {
        /// The tensor or buffer.
        what: String,
        /// Bytes needed.
        needed: u64,
        /// Name of the WebGPU limit.
        limit_name: String,
        /// Its value.
        limit: u64,
        /// What to do.
        help: String,
    },
    /// The GPU reported an error, ran out of memory or went away.
    #[error("GPU: {what}")]
    Gpu {
        /// Which of these.
        failure: GpuFailure,
        /// What it said.
        what: String,
        /// What to do.
        help: String,
    },
    /// Training met gradients that are not finite, several steps in a row.
    #[error("step {step}: the gradient of {tensor} is not finite")]
    NonFinite {
        /// The optimizer step, from 1.
        step: usize,
        /// The parameter's name.
        tensor: String,
        /// What to do.
        help: String,
    },
}

/// How a GPU can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuFailure {
    /// The device went away: the driver was reset, the machine slept, the browser's GPU process ended. Another device can be had.
    DeviceLost,
    /// It had no memory for what was asked. The device is still there.
    OutOfMemory,
    /// Anything else, which is a fault of ours or of the driver.
    Fault,
}

/// "file, line 3" or "file".
struct Place<'a>(&'a str, Option<usize>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(line) => write!(f, "{}, line {line}", self.0),
            None => f.write_str(self.0),
        }
    }
}

impl Error {
    /// A short, stable, machine-readable name: the `code` of the `error` event.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Io { .. } => "io",
            Error::Format { .. } => "format",
            Error::Architecture { .. } => "architecture",
            Error::Quantization { .. } => "quantization",
            Error::Data { .. } => "data",
            Error::Config { .. } => "config",
            Error::UnknownKey { .. } => "unknown-key",
            Error::Template { .. } => "template",
            Error::Adapter { .. } => "adapter",
            Error::NoAdapter { .. } => "no-adapter",
            Error::Limit { .. } => "limit",
            Error::Gpu { failure: GpuFailure::DeviceLost, .. } => "device-lost",
            Error::Gpu { failure: GpuFailure::OutOfMemory, .. } => "out-of-memory",
            Error::Gpu { failure: GpuFailure::Fault, .. } => "gpu",
            Error::NonFinite { .. } => "non-finite",
        }
    }

    /// What the person can do about it: one sentence.
    pub fn help(&self) -> String {
        match self {
            Error::Io { path, .. } => {
                format!("check that {path} exists, that you may read or write it, and that the disk is not full")
            }
            Error::Architecture { supported, .. } => format!("use a model of one of these architectures: {supported}"),
            Error::Quantization { supported, .. } => {
                format!("use a file of the same model in one of these encodings: {supported}")
            }
            Error::UnknownKey { nearest: Some(name), .. } => format!("did you mean \"{name}\"?"),
            Error::UnknownKey { nearest: None, kind, .. } => format!("see the README for every {kind}"),
            Error::Format { help, .. }
            | Error::Data { help, .. }
            | Error::Config { help, .. }
            | Error::Template { help, .. }
            | Error::Adapter { help, .. }
            | Error::NoAdapter { help, .. }
            | Error::Limit { help, .. }
            | Error::Gpu { help, .. }
            | Error::NonFinite { help, .. } => help.clone(),
        }
    }

    /// A device that went away, by what it said.
    pub fn device_lost(what: impl fmt::Display) -> Self {
        Error::Gpu {
            failure: GpuFailure::DeviceLost,
            what: format!("the device was lost: {what}"),
            help: "load the model again and continue; if it happens again, use a shorter max_length".into(),
        }
    }

    /// A device without memory for what was asked.
    pub fn out_of_memory() -> Self {
        Error::Gpu {
            failure: GpuFailure::OutOfMemory,
            what: "out of memory".into(),
            help: "use a smaller model, a shorter max_length or a smaller batch, and close other programs that use the GPU"
                .into(),
        }
    }

    /// A model or an adapter that makes no numbers of its input.
    pub fn no_numbers(file: &str) -> Self {
        Error::Format {
            file: file.into(),
            what: "what the model makes of it is no finite number".into(),
            help: "leave the adapter out, or give another: training may have blown up; or else take another model"
                .into(),
        }
    }

    /// Wraps an I/O error with the path it happened at.
    pub fn io(path: impl Into<String>, what: impl fmt::Display) -> Self {
        Error::Io { path: path.into(), what: what.to_string() }
    }

    /// An unknown key, with the nearest of `known` suggested when it is near enough.
    pub fn unknown_key<'a>(kind: &str, key: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let nearest = known
            .into_iter()
            .map(|name| (strsim::damerau_levenshtein(key, name), name))
            .min()
            .filter(|(distance, name)| *distance <= 1 + name.len() / 3)
            .map(|(_, name)| name.to_owned());
        Error::UnknownKey { kind: kind.into(), key: key.into(), nearest }
    }
}
