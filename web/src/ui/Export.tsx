import { exportGguf, exportPeft, exportRun, stopMerging } from '../actions/adapters';
import type { Adapter, OutType } from '../engine';
import { bytes } from '../format';
import { adapter, answerSettings, defaults, merging, model, outtype, run, settings, writes } from '../store';
import { asksWith, loadsWith, runsWith } from '../zip';
import { Button } from './bits';

/** What can be taken away of the adapter that is chosen. */
export function Export() {
  const current = adapter.value;
  // Between two steps it stands still.
  const ready = current && (!current.training || run.value.state === 'paused') ? current : null;
  return (
    <>
      <Folder chosen={current} ready={ready} />
      <Merged chosen={current} ready={ready} />
    </>
  );
}

interface Props {
  chosen: Adapter | null;
  /** The same where it can be exported now. */
  ready: Adapter | null;
}

function Folder({ chosen, ready }: Props) {
  const base = model.value.state === 'ready' ? model.value.info : null;
  // Before there is one, what would be trained.
  const id = chosen?.method ?? settings.value.method;
  const scores = chosen !== null && !writes(chosen);
  const inPeft = defaults.value?.methods.find((method) => method.id === id)?.in_peft ?? true;
  return (
    <div class="export">
      <div>
        <h3>{inPeft ? 'Adapter for Hugging Face PEFT' : 'Adapter for Tunesmith'}</h3>
        <p>
          A zip of <code>adapter_config.json</code>, <code>adapter_model.safetensors</code> and <code>README.md</code>
          {chosen ? `, ${bytes(chosen.file_bytes)}.` : '.'}
          {!inPeft && ' PEFT has no such method: Tunesmith reads it.'}
        </p>
        <div class="row">
          <Button look="main" icon="download" data-testid="export-peft" disabled={!ready} onClick={() => ready && void exportPeft(ready)}>
            Download adapter
          </Button>
          <Button icon="download" data-testid="export-run" disabled={!chosen?.config} onClick={() => chosen && exportRun(chosen)}>
            run.json
          </Button>
        </div>
        <p class="hint">
          {!chosen
            ? 'Comes with the first run, or with an adapter that you load.'
            : chosen.config
              ? 'run.json holds the exact settings of this run; the command line takes it as it is.'
              : 'It was trained elsewhere: there is no run.json of it here.'}
        </p>
      </div>
      <div class="code" data-testid="export-reads">
        <p>
          Unpack it as <code>tunesmith-adapter</code> {inPeft ? 'beside the model’s Hugging Face checkpoint' : 'beside the model’s file'}, then:
        </p>
        <pre tabIndex={0} aria-label={inPeft ? 'Python that loads the adapter' : 'The command that asks the adapter'}>
          {inPeft ? loadsWith(base?.name ?? 'the base model', base?.load_in_4bit ?? false, scores) : asksWith(base?.load_in_4bit ?? false, scores)}
        </pre>
      </div>
    </div>
  );
}

function Merged({ chosen, ready }: Props) {
  const why = chosen?.why_no_merge ?? null;
  const going = merging.value;
  return (
    <div class="export">
      <div>
        <h3>Merged model, GGUF</h3>
        <p>
          One file: the model with the adapter in its weights, for llama.cpp and all who read GGUF.
          {answerSettings.value.strength < 1 && ' It has all of the adapter: the strength above is for the answers alone.'}
        </p>
        <div class="row">
          <Button look="main" icon="download" data-testid="export-gguf" disabled={!ready || why !== null || going !== null} aria-describedby="merge-note" onClick={() => ready && void exportGguf(ready)}>
            Download merged GGUF
          </Button>
          <label class="visually-hidden" for="outtype">
            Encoding of what the adapter changes
          </label>
          <select id="outtype" data-testid="outtype" disabled={going !== null} value={outtype.value} onChange={(event) => (outtype.value = event.currentTarget.value as OutType)}>
            <option value="f16">f16</option>
            <option value="f32">f32</option>
          </select>
        </div>
        {going ? (
          <div class="merging">
            <label id="merge-note" for="merge-progress">{going.total > 0 ? `Merging: ${bytes(going.done)} of ${bytes(going.total)}` : 'Merging'}</label>
            <progress id="merge-progress" {...(going.total > 0 && { value: going.done, max: going.total })} />
            <Button look="quiet" icon="stop" data-testid="merge-stop" onClick={() => void stopMerging()}>
              Stop
            </Button>
          </div>
        ) : (
          <p id="merge-note" class="hint">
            {why ? `This adapter cannot be merged into the model: ${why}.` : chosen ? 'f16 is half the size of f32, which is exact. What the adapter does not change is as in the model’s file.' : 'Comes with the first run, or with an adapter that you load.'}
          </p>
        )}
      </div>
      <div class="code">
        <p>Then, with llama.cpp:</p>
        <pre tabIndex={0} aria-label="The command that runs the merged model">
          {runsWith(outtype.value)}
        </pre>
      </div>
    </div>
  );
}
