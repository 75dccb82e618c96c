import { cancelLoad, deleteModel, keepCopy, loadCopy, loadDefault, loadFiles, loadRefused, reload, removeCopy } from '../actions/model';
import type { ModelInfo } from '../engine';
import { bytes, count, sentence, short } from '../format';
import type { Loaded, LoadPhase } from '../protocol';
import { busy, copying, device, IN_4BIT, in4bit, inWords, model, offer, ownModels, refused } from '../store';
import { Button, Drop, FileButton, Step, SureButton } from './bits';

export function Model() {
  const current = model.value;
  return (
    <Step number={1} id="model" title="Model" lead="The model you start from. It is loaded into your GPU and stays on this machine.">
      <Drop onFiles={(_, chosen) => void (busy.value || loadFiles(chosen))}>
        <Refused />
        {current.state === 'loading' ? <Loading /> : current.state === 'ready' ? <Card /> : <Choose />}
      </Drop>
    </Step>
  );
}

const blocked = () => device.value.state !== 'ready';

/** The default model, or a file of one's own. */
function Choose() {
  const current = offer.value;
  const kept = current && 'kept' in current ? current.kept : null;
  return (
    <div class="choose">
      {current && 'manifest' in current && (
        <div class="offer">
          <div>
            <h3>{current.manifest.name}</h3>
            <p>
              {bytes(current.manifest.bytes)}
              {kept?.complete
                ? ' · kept in this browser'
                : kept
                  ? ` · ${Math.floor((100 * kept.bytes) / current.manifest.bytes)} % downloaded, goes on from there`
                  : ' · downloaded once, then kept in this browser'}
            </p>
          </div>
          <div class="row">
            <Button look="main" data-testid="load-default" disabled={blocked()} onClick={() => void loadDefault()}>
              {kept?.complete ? 'Load' : kept ? 'Go on downloading' : 'Download and load'}
            </Button>
            {kept && (
              <SureButton icon="trash" data-testid="delete-model" sure="Delete it? Press again" onClick={() => void deleteModel(kept.file)}>
                Delete
              </SureButton>
            )}
          </div>
        </div>
      )}
      {current && 'problem' in current && (
        <div class="offer">
          <div>
            <h3>{current.problem.message}</h3>
            <p>{current.problem.help}</p>
          </div>
        </div>
      )}
      {ownModels.value.map(({ file, bytes: size }) => (
        <div key={file} class="offer" data-testid="own-model">
          <div>
            <h3>{file}</h3>
            <p>{bytes(size)} · a copy of your file, kept in this browser</p>
          </div>
          <div class="row">
            <Button data-testid="load-copy" disabled={blocked()} onClick={() => void loadCopy(file)}>
              Load
            </Button>
            <SureButton icon="trash" data-testid="remove-copy" sure="Delete it? Press again" onClick={() => void removeCopy(file)}>
              Delete
            </SureButton>
          </div>
        </div>
      ))}
      <div class="own">
        <p>
          <strong>Or your own.</strong> Drop or choose a GGUF file, all files of one that is split, or a folder from Hugging Face with its safetensors. It is
          read where it lies and never uploaded.
        </p>
        <div class="row">
          <FileButton label="Choose a file" accept=".gguf" multiple testid="model-file" disabled={blocked()} onFiles={(_, chosen) => void loadFiles(chosen)} />
          <FileButton label="Choose a folder" folder testid="model-folder" disabled={blocked()} onFiles={(_, chosen) => void loadFiles(chosen)} />
        </div>
        <In4bit label={IN_4BIT} />
      </div>
    </div>
  );
}

/** How the next file of one's own is held. */
function In4bit({ label }: { label: string }) {
  return (
    <label class="in-4bit">
      <input type="checkbox" data-testid="in-4bit" checked={in4bit.value} aria-describedby="in-4bit-note" onChange={(event) => (in4bit.value = event.currentTarget.checked)} />
      <strong>{label}</strong>
      <small id="in-4bit-note" class="hint">
        For a file with 16- or 32-bit weights. Held in 4 bits (NF4) they take about a quarter of what 16 bits do, and lose a little precision; an adapter
        is then trained over them as they are held.
      </small>
    </label>
  );
}

/** A file that cannot be held in 4 bits, and the way out. */
function Refused() {
  if (!refused.value) return null;
  const { model, problem } = refused.value;
  return (
    <div class="notice" data-testid="model-refused" role="alert">
      <h3>{model.name} cannot be held in 4 bits</h3>
      <p>
        {sentence(inWords(problem.message))}. {sentence(inWords(problem.help))}.
      </p>
      <div class="row">
        <Button data-testid="load-refused" disabled={busy.value} onClick={() => void loadRefused()}>
          Load it as it is
        </Button>
        <Button look="quiet" onClick={() => (refused.value = null)}>
          Leave it
        </Button>
      </div>
    </div>
  );
}

const phases: Record<LoadPhase, string> = {
  check: 'Checking what is kept',
  download: 'Downloading',
  load: 'Loading into the GPU',
};

function Loading() {
  const current = model.value;
  if (current.state !== 'loading') return null;
  const { phase, name, done, total } = current;
  return (
    <div class="loading">
      <label for="model-progress">
        <strong>{name}</strong>
        <span>
          {phases[phase]}
          {total > 0 && ` · ${bytes(done)} of ${bytes(total)}`}
        </span>
      </label>
      <progress id="model-progress" data-testid="model-progress" data-phase={phase} {...(total > 0 && { value: done, max: total })} />
      <Button look="quiet" onClick={() => void cancelLoad()}>
        {phase === 'load' ? 'Stop here' : 'Stop here, keep what is downloaded'}
      </Button>
    </div>
  );
}

const whereWords = {
  kept: 'kept in this browser, checked by its SHA‑256',
  memory: 'in memory until this tab closes',
  file: 'your file, read where it lies',
  copy: 'a copy of your file, kept in this browser',
};

function Card() {
  const current = model.value;
  if (current.state !== 'ready') return null;
  const { info, where, bytes: size } = current;
  const kept = offer.value && 'kept' in offer.value ? offer.value.kept : null;
  const facts: [string, string][] = [
    ['Parameters', short(info.parameters)],
    ['Architecture', info.architecture],
    ['Quantization', info.load_in_4bit ? 'NF4, 4 bits' : info.quantization],
    ['Layers', count(info.layers)],
    ['Hidden size', count(info.hidden)],
    ['Attention heads', `${info.heads}, ${info.kv_heads} for keys`],
    ['Feed-forward', count(info.ffn)],
    ['Vocabulary', count(info.vocab)],
    ['Context', `${count(info.context_length)} tokens`],
    ['GPU memory', bytes(info.gpu_bytes)],
  ];
  return (
    <div class="model-card" data-testid="model-card">
      <div class="model-title">
        <div>
          <h3>{info.name}</h3>
          <p>
            {bytes(size)}, {whereWords[where]}
            {where === 'file' && copyOf(current) && ', with a copy of it kept in this browser'}
          </p>
        </div>
        <div class="row">
          {(where === 'file' || where === 'copy') && offer.value && 'manifest' in offer.value && (
            <Button disabled={busy.value} data-testid="load-default" onClick={() => void loadDefault()}>
              Use {offer.value.manifest.name}
            </Button>
          )}
          <FileButton label="Use another" accept=".gguf" multiple testid="model-file" disabled={busy.value} onFiles={(_, chosen) => void loadFiles(chosen)} />
          <FileButton label="Use a folder" folder testid="model-folder" disabled={busy.value} onFiles={(_, chosen) => void loadFiles(chosen)} />
          <Reload info={info} />
          <KeepCopy />
          {where === 'kept' && kept && (
            <SureButton icon="trash" data-testid="delete-model" disabled={busy.value} sure="Delete it? Press again" onClick={() => void deleteModel(kept.file)}>
              Delete from browser
            </SureButton>
          )}
        </div>
      </div>
      <dl class="grid-facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {info.chat_template ? (
        <details>
          <summary>Chat template</summary>
          <pre tabIndex={0} aria-label="Chat template">
            {info.chat_template}
          </pre>
        </details>
      ) : (
        <p class="hint">This model has no chat template: examples are joined as plain text.</p>
      )}
      <In4bit label="Hold the next file in 4 bits (QLoRA)" />
    </div>
  );
}

/** The copy that is kept of the file whose model is loaded; another file may have its name. */
const copyOf = ({ file, bytes }: Loaded) => ownModels.value.find((one) => one.file === file && one.bytes === bytes);

/** Of a person's own file: whether a copy of it is kept for the next visit. */
function KeepCopy() {
  const current = model.value;
  if (current.state !== 'ready' || (current.where !== 'file' && current.where !== 'copy')) return null;
  if (copying.value) {
    const { done, total } = copying.value;
    return (
      <Button icon="stop" data-testid="stop-copy" onClick={() => void cancelLoad()}>
        Copying{total > 0 && `: ${bytes(done)} of ${bytes(total)}`}. Stop
      </Button>
    );
  }
  const copy = copyOf(current);
  if (!copy) {
    return (
      <Button data-testid="keep-copy" disabled={busy.value} title="After a reload the page has to be given the file again, unless it keeps a copy." onClick={() => void keepCopy()}>
        Keep a copy in this browser
      </Button>
    );
  }
  return (
    <SureButton icon="trash" data-testid="remove-copy" disabled={busy.value} sure="Delete the copy? Press again" onClick={() => void removeCopy(copy.file)}>
      Delete the copy
    </SureButton>
  );
}

/** The other way to hold the weights of a file that has 16 or 32 bits of each. */
function Reload({ info }: { info: ModelInfo }) {
  if (!['F16', 'BF16', 'F32'].includes(info.quantization)) return null;
  return (
    <Button
      data-testid="reload"
      disabled={busy.value}
      title="What was trained on the model as it is held now goes."
      onClick={() => void reload(!info.load_in_4bit)}
    >
      Load again {info.load_in_4bit ? `in ${info.quantization}, as in the file` : 'in 4 bits (QLoRA)'}
    </Button>
  );
}
