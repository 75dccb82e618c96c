import type { Preview, PreviewToken } from '../engine';
import { ofRow, plural } from '../format';
import type { Row } from '../examples';
import { form, model, objective, preview, settings, table } from '../store';

/** The selected row, token by token, as the model sees it. */
export function PreviewPanel() {
  const rows = table.value.rows.value;
  if (!rows.length) return null;
  const current = preview.value;
  // Of a prompt nothing is learnt: the model writes what follows.
  const answers = settings.value.teach === 'prompts';
  const index = current ? rows.findIndex(({ id }) => id === current.row) : -1;
  return (
    <div class="preview" data-testid="preview">
      <div class="preview-head">
        <h3>As the model sees it{index >= 0 && `: row ${index + 1}`}</h3>
        <ul class="legend" aria-label="Legend">
          {!answers && (
            <li>
              <mark class="token target">{marked(current && 'preview' in current ? current.preview : null)}</mark>
            </li>
          )}
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
        <p class="hint">{answers ? 'Choose a row that has a prompt.' : 'Choose a row that has a question and an answer.'}</p>
      ) : 'unused' in current ? (
        <p class="hint" role="status">
          {objective.value?.label} compares two answers, so this row is nothing for it.
        </p>
      ) : 'problem' in current ? (
        <p class="bad-note" role="status">
          {ofRow(current.problem.message)}. {current.problem.help}
        </p>
      ) : (
        <>
          <Shown preview={current.preview} />
          <Reading row={rows[index]} />
        </>
      )}
    </div>
  );
}

/** How two texts are read, where that could be either way. */
function Reading({ row }: { row: Row | undefined }) {
  const example = row?.example;
  const isTexts = example && 'prompt' in example && typeof example.prompt === 'string';
  if (!isTexts || model.value.state !== 'ready' || !model.value.info.chat_template) return null;
  const raw = form.value?.config.raw === true;
  return (
    <p class="hint" data-testid="reading">
      {raw
        ? 'The texts are joined as they are, without the model’s chat template: “Texts as they are” is on under Advanced (step 3).'
        : 'Read as a conversation, by the model’s chat template, as when you ask it something.'}
    </p>
  );
}

/** What is done with the tokens that are marked. */
function marked(preview: Preview | null): string {
  if (settings.value.teach === 'examples') return 'trained on';
  return preview && 'pieces' in preview ? 'judged' : 'compared';
}

/** The row's one sequence of tokens, or its two. */
function Shown({ preview }: { preview: Preview }) {
  const { total, targets, truncated } = preview;
  return (
    <>
      {'chosen' in preview ? (
        <>
          <Tokens name="Chosen" tokens={preview.chosen} />
          <Tokens name="Rejected" tokens={preview.rejected} />
        </>
      ) : 'pieces' in preview ? (
        <Tokens name={preview.label ? 'Good' : 'Bad'} tokens={preview.pieces} cut={truncated} />
      ) : (
        <Tokens tokens={preview.tokens} cut={truncated} />
      )}
      <p class="hint">
        {plural(total, 'token')}, {settings.value.teach === 'prompts' ? 'and then the model’s answer' : `${targets} ${marked(preview)}`}
        {truncated && '. The rest is longer than “Longest example” and is left out: raise it, or shorten the row.'}
      </p>
    </>
  );
}

/** `cut`: whether more would follow. */
function Tokens({ name, tokens, cut = false }: { name?: string; tokens: PreviewToken[]; cut?: boolean }) {
  return (
    <>
      {name && <h4>{name}</h4>}
      <p class="tokens" dir="auto" tabIndex={0} role="group" aria-label={name ? `Tokens of ${name}` : 'Tokens'} data-side={name}>
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
        {cut && (
          <strong class="cut" data-testid="preview-truncated">
            cut here
          </strong>
        )}
      </p>
    </>
  );
}

/** Line ends are shown, since the model is trained on them too; and so is a token that is a part of the next one's character. */
const visible = (text: string) => text.replace(/\n/g, '↵') || '⋯';
