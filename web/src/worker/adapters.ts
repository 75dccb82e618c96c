import { unzipSync } from 'fflate';
import type { Problem } from '../engine';

/** What an adapter is read from, and the name it goes by. */
export interface AdapterFiles {
  name: string;
  config: Uint8Array;
  tensors: Uint8Array;
}

const CONFIG = 'adapter_config.json';
const TENSORS = 'adapter_model.safetensors';

/** A zip of an adapter's folder, wherever in it the two files lie; or the two files themselves, whatever they are called. */
export async function readAdapter(files: File[]): Promise<AdapterFiles> {
  const [file] = files;
  if (files.length === 1 && file?.name.endsWith('.zip')) return fromZip(file);
  const config = files.find(({ name }) => name.endsWith('.json'));
  const tensors = files.find(({ name }) => name.endsWith('.safetensors'));
  if (!config || !tensors) throw missing(files.map(({ name }) => name).join(', '), config ? TENSORS : CONFIG);
  return { name: tensors.name, config: await bytesOf(config), tensors: await bytesOf(tensors) };
}

async function fromZip(file: File): Promise<AdapterFiles> {
  const base = (path: string) => path.slice(path.lastIndexOf('/') + 1);
  const zip = await bytesOf(file);
  let found: Record<string, Uint8Array>;
  try {
    found = unzipSync(zip, { filter: ({ name }) => base(name) === CONFIG || base(name) === TENSORS });
  } catch (thrown) {
    throw problem(`${file.name}: this is no whole zip (${thrown instanceof Error ? thrown.message : String(thrown)})`, 'download or copy it again');
  }
  const only = (wanted: string): Uint8Array => {
    const paths = Object.keys(found).filter((path) => base(path) === wanted);
    if (paths.length > 1) throw problem(`${file.name}: there are ${paths.length} files called ${wanted} in it`, 'give a zip of one adapter');
    const bytes = found[paths[0] ?? ''];
    if (!bytes) throw missing(file.name, wanted);
    return bytes;
  };
  return { name: file.name, config: only(CONFIG), tensors: only(TENSORS) };
}

const bytesOf = async (file: File) => new Uint8Array(await file.arrayBuffer());

const problem = (message: string, help: string): Problem => ({ code: 'adapter', message, help });

const missing = (where: string, what: string): Problem =>
  problem(`${where}: there is no ${what}`, `give a zip of an adapter’s folder, or ${CONFIG} and ${TENSORS} together`);
