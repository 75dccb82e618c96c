import { addAdapter, removeAdapter, useAdapter } from '../actions/adapters';
import type { Adapter } from '../engine';
import { bytes, short } from '../format';
import { adapter, adapterLabel, adapters, answerSettings, asking, labelOf, merging, model, objectives, writes } from '../store';
import { Button, Drop, FileButton } from './bits';

/** What was trained, and what was read from files: the one that is chosen answers and is exported. */
export function Adapters() {
  const ready = model.value.state === 'ready';
  const list = adapters.value;
  return (
    <Drop onFiles={(files) => void (ready && addAdapter(files))}>
      <div class="adapters" data-testid="adapters">
        <div class="adapters-head">
          <h3 id="adapters-title">Adapters</h3>
          <FileButton label="Load an adapter" accept=".zip,.json,.safetensors" testid="adapter-file" multiple disabled={!ready} onFiles={(files) => void addAdapter(files)} />
        </div>
        {list.length > 0 && (
          <fieldset class="adapter-list" aria-labelledby="adapters-title" disabled={asking.value || merging.value !== null}>
            {list.map((one) => (
              <Row key={one.id} one={one} />
            ))}
          </fieldset>
        )}
        <p class="hint">
          {list.length > 0
            ? 'They stay on the GPU until another model is loaded or the tab is closed. What was trained here is kept under Runs (step 3) and can be had back from there.'
            : 'What you train (step 3) stands here. You can also load a zip that this page made, or PEFT’s adapter_config.json and adapter_model.safetensors together.'}
        </p>
        {adapter.value && writes(adapter.value) && <Strength of={adapter.value} />}
      </div>
    </Drop>
  );
}

function Row({ one }: { one: Adapter }) {
  const name = adapterLabel(one);
  const learnt = objectives.value.find((objective) => objective.name === one.config?.objective);
  return (
    <div class="adapter-row" data-testid={`adapter-${one.id}`}>
      <label>
        <input type="radio" name="adapter" checked={one.id === adapter.value?.id} onChange={() => useAdapter(one)} />
        <span>
          <strong>{name}</strong>
          <small>
            {one.file && `${labelOf(one.method)}, `}
            {learnt && learnt.rows !== 'examples' && `${learnt.label}, `}
            {short(one.trainable)} weights, a file of {bytes(one.file_bytes)}, {bytes(one.gpu_bytes)} on the GPU
            {one.training && ' · in training'}
          </small>
        </span>
      </label>
      <Button look="quiet" icon="trash" aria-label={`Remove ${name}`} disabled={one.training} onClick={() => void removeAdapter(one)} />
    </div>
  );
}

/** How much of the chosen adapter counts, where it can be weaker. */
function Strength({ of }: { of: Adapter }) {
  const fixed = of.why_no_strength;
  const strength = fixed ? 1 : answerSettings.value.strength;
  return (
    <div class="strength">
      <label for="strength">
        Strength <output for="strength">{strength.toFixed(2)}</output>
      </label>
      <input
        id="strength"
        data-testid="strength"
        type="range"
        min={0}
        max={1}
        step={0.05}
        value={strength}
        disabled={fixed !== null}
        aria-describedby="strength-note"
        onInput={(event) => (answerSettings.value = { ...answerSettings.value, strength: event.currentTarget.valueAsNumber })}
      />
      <p id="strength-note" class="hint">
        {fixed ? `${labelOf(of.method)} has no strength but its own: ${fixed}.` : 'Of the answers after training: 0 is the model as it came, 1 all of the adapter.'}
      </p>
    </div>
  );
}
