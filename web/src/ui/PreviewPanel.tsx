import { plural } from '../format';
import { model, preview, rows } from '../store';

/** The selected example, token by token, as the model sees it. */
export function PreviewPanel() {
  if (!rows.value.length) return null;
  const current = preview.value;
  const index = current ? rows.value.findIndex(({ id }) => id === current.row) : -1;
  return (
    <div class="preview" data-testid="preview">
      <div class="preview-head">
        <h3>As the model sees it{index >= 0 && `: row ${index + 1}`}</h3>
        <ul class="legend" aria-label="Legend">
          <li>
            <mark class="token target">trained on</mark>
          </li>
          <li>
            <span class="token">read only</span>
          </li>
          <li>
            <span class="token special">special</span>
          </li>
        </ul>
      </div>
      {model.value.state !== 'ready' ? (
        <p class="hint">Load a model to see its template and tokens.</p>
      ) : !current ? (
        <p class="hint">Choose a row that has a question and an answer.</p>
      ) : 'problem' in current ? (
        <p class="bad-note" role="status">
          {current.problem.message}. {current.problem.help}
        </p>
      ) : (
        <Tokens />
      )}
    </div>
  );
}

function Tokens() {
  const current = preview.value;
  if (!current || !('preview' in current)) return null;
  const { tokens, total, targets, truncated } = current.preview;
  return (
    <>
      <p class="tokens" tabIndex={0} role="group" aria-label="Tokens">
        {tokens.map(({ text, target, special }, index) => {
          const Tag = target ? 'mark' : 'span';
          return (
            <>
              <Tag key={index} class={`token ${target ? 'target' : ''} ${special ? 'special' : ''}`} data-token data-target={target || undefined} data-special={special || undefined}>
                {visible(text)}
              </Tag>
              {text.endsWith('\n') && <br />}
            </>
          );
        })}
        {truncated && (
          <strong class="cut" data-testid="preview-truncated">
            cut here
          </strong>
        )}
      </p>
      <p class="hint">
        {plural(total, 'token')}, {targets} trained on
        {truncated && '. The rest is longer than “Longest example” and is left out: raise it, or shorten the example.'}
      </p>
    </>
  );
}

/** Line ends are shown, since the model is trained on them too. */
const visible = (text: string) => text.replace(/\n/g, '↵');
