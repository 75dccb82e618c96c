// The files that a person gives for a model: a GGUF file, all parts of one, or a folder as Hugging Face has it.

/** At least one. */
export type Files = [File, ...File[]];

/** What was chosen or dropped; `folder` is what it was in, where it came as one. */
export interface Chosen {
  files: Files;
  folder: string | null;
}

/** A model's files, and what they are called together. */
export interface ModelFiles {
  name: string;
  files: Files;
}

/** Endings of what is read in a folder, and of what is said to be missing something where it stands alone. */
const OF_FOLDERS = ['json', 'jinja', 'safetensors', 'bin', 'model'];

const some = (files: File[]): Files | null => {
  const [first, ...others] = files;
  return first ? [first, ...others] : null;
};

const ends = (file: File, endings: string[]) => endings.includes(file.name.slice(file.name.lastIndexOf('.') + 1));

/** The files of a model among those that were given. A folder of GGUF files is those. */
export function modelFiles({ files, folder }: Chosen): ModelFiles {
  const sorted = files.toSorted((one, other) => one.name.localeCompare(other.name));
  const weights = (ending: string) => sorted.find((file) => ends(file, [ending]));
  const own = (endings: string[]) => some(sorted.filter((file) => ends(file, endings)));
  const gguf = own(['gguf']);
  // What is none of these is for the engine to refuse.
  const all = gguf ?? own(OF_FOLDERS) ?? files;
  const main = weights('gguf') ?? weights('safetensors') ?? all[0];
  return { name: (gguf ? null : folder) ?? main.name, files: all };
}

/** What a chooser gave; of a folder that is all in it, of which what lies in folders of its own is left out. */
export function chosen(list: FileList | null): Chosen | null {
  const all = [...(list ?? [])];
  const path = (file: File) => file.webkitRelativePath.split('/');
  const files = some(all.filter((file) => path(file).length <= 2));
  return files && { files, folder: path(files[0]).length === 2 ? path(files[0])[0]! : null };
}

/** What was dropped: files, or a folder. To be called while the event is handled, for the browser forgets it afterwards. */
export async function dropped(transfer: DataTransfer | null): Promise<Chosen | null> {
  const entries = [...(transfer?.items ?? [])].map((item) => item.webkitGetAsEntry());
  const files = some([...(transfer?.files ?? [])]);
  const folder = entries.find((entry) => entry?.isDirectory) as FileSystemDirectoryEntry | undefined;
  if (!folder) return files && { files, folder: null };
  const inside = some(await filesIn(folder));
  return inside && { files: inside, folder: folder.name };
}

async function filesIn(folder: FileSystemDirectoryEntry): Promise<File[]> {
  const reader = folder.createReader();
  const files: File[] = [];
  // A reader gives some hundred at a time, and none when it is done.
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return files;
    for (const entry of some) {
      if (entry.isFile) files.push(await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject)));
    }
  }
}
