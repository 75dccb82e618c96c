//! Files of an adapter or a checkpoint that are made while they are written, part by part: the tensors of a whole model and the
//! optimizer's moments may be larger than the memory that is left.

use std::borrow::Cow;
use std::ops::Range;
use std::vec::IntoIter;

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::Parameters;
use super::window::{WINDOW, Window};
use crate::gpu::Buffer;
use crate::{Error, Result};

/// Bytes of a part, from which on no more tensors come into it.
const PART: usize = 4 * WINDOW;

/// A file of an adapter or a checkpoint, or a part of one.
pub struct File {
    /// Its name in the folder.
    pub name: &'static str,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Where the values of a tensor are.
#[derive(Clone)]
pub(crate) enum Values<'a> {
    /// In memory, in the file's order.
    Host(Cow<'a, [f32]>),
    /// On the device, in buffers that are laid out like the parameters: those of the parameter of this number.
    Device(&'a [Buffer], usize),
}

/// A tensor that is to be written: its name, its shape, and where its values are.
pub(crate) type Tensor<'a> = (String, Vec<usize>, Values<'a>);

/// A file that is to be written.
pub struct StreamedFile<'a> {
    /// Its name in the folder.
    pub name: &'static str,
    /// What comes before the tensors: all of it, where there are none.
    head: Option<Vec<u8>>,
    /// Pieces of the tensors, in their order.
    pieces: IntoIter<(Values<'a>, Range<usize>)>,
    window: Option<Window<'a>>,
}

impl From<File> for StreamedFile<'_> {
    fn from(file: File) -> Self {
        Self { name: file.name, head: Some(file.bytes), pieces: Vec::new().into_iter(), window: None }
    }
}

impl<'a> StreamedFile<'a> {
    /// A safetensors file, byte for byte as that library writes it: the tensors in the order of their names.
    ///
    /// # Errors
    /// [`Error::Adapter`] for shapes that no file can hold.
    pub(crate) fn tensors(name: &'static str, params: &'a Parameters, mut tensors: Vec<Tensor<'a>>) -> Result<Self> {
        tensors.sort_by(|one, other| one.0.cmp(&other.0));
        let mut end = 0;
        let (mut infos, mut pieces) = (Vec::new(), Vec::new());
        for (name, shape, values) in tensors {
            let count: usize = shape.iter().product();
            let begin = end;
            end += count * size_of::<f32>();
            infos.push((name, TensorInfo { dtype: Dtype::F32, shape, data_offsets: (begin, end) }));
            // Where the device has another order, a piece of the file is none of the device.
            let is_whole = match values {
                Values::Device(_, index) => params.tensors[index].order.is_some(),
                Values::Host(_) => false,
            };
            let piece = if is_whole { count.max(1) } else { WINDOW };
            pieces.extend((0..count).step_by(piece).map(|at| (values.clone(), at..count.min(at + piece))));
        }
        let head = header(infos).map_err(|what| Error::Adapter {
            file: name.into(),
            what,
            help: "this is a fault in Tunesmith: please report it with this message".into(),
        })?;
        Ok(Self { name, head: Some(head), pieces: pieces.into_iter(), window: Some(Window::new(params)) })
    }

    /// The next part of it; none after the last. Each file has a part, which may be empty.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device failed.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        if let Some(head) = self.head.take() {
            return Ok(Some(head));
        }
        let mut part = Vec::new();
        while part.len() < PART
            && let Some((values, range)) = self.pieces.next()
        {
            match values {
                Values::Host(values) => part.extend_from_slice(bytemuck::cast_slice(&values[range])),
                Values::Device(buffers, index) => {
                    let window = self.window.as_mut().expect("tensors come with a window");
                    part.extend_from_slice(bytemuck::cast_slice(&window.read(buffers, index, range).await?));
                }
            }
        }
        Ok((!part.is_empty()).then_some(part))
    }

    /// All of it.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device failed.
    pub async fn whole(mut self) -> Result<File> {
        let mut bytes = Vec::new();
        while let Some(mut part) = self.next().await? {
            bytes.append(&mut part);
        }
        Ok(File { name: self.name, bytes })
    }
}

/// All of these.
///
/// # Errors
/// [`Error::Gpu`] when the device failed.
pub async fn whole(streamed: Vec<StreamedFile<'_>>) -> Result<Vec<File>> {
    let mut files = Vec::with_capacity(streamed.len());
    for file in streamed {
        files.push(file.whole().await?);
    }
    Ok(files)
}

/// What comes before the values in a safetensors file: the length of what follows, names and places as JSON, and spaces up to the
/// next eight bytes.
fn header(infos: Vec<(String, TensorInfo)>) -> Result<Vec<u8>, String> {
    let metadata = Metadata::new(Some([("format".to_owned(), "pt".to_owned())].into()), infos);
    let json = metadata.map_err(|error| error.to_string())?;
    let mut json = serde_json::to_vec(&json).map_err(|error| error.to_string())?;
    json.resize(json.len().next_multiple_of(8), b' ');
    Ok([&(json.len() as u64).to_le_bytes()[..], &json].concat())
}
