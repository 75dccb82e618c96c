import { useState } from 'preact/hooks';
import { forget } from '../persist';
import { engine } from '../actions/session';
import { bytes, count, plural } from '../format';
import { traffic } from '../store';
import { Button, Icon } from './bits';

/** The request counter: what this page said over the network, measured, where the person can see it. */
export function Privacy() {
  const { hosts, sent, blocked } = traffic.value;
  const others = Object.entries(hosts).filter(([host]) => host !== location.host);
  const elsewhere = others.reduce((sum, [, { requests }]) => sum + requests, 0);
  const clean = elsewhere === 0 && sent === 0;
  return (
    <>
      <button
        type="button"
        class={`chip privacy ${clean ? '' : 'bad'}`}
        popovertarget="privacy-panel"
        data-testid="privacy"
        data-other-hosts={elsewhere}
        data-bytes-sent={sent}
      >
        <Icon name="shield" />
        <span>
          <span class="visually-hidden">Privacy: </span>
          {bytes(sent)} sent<span class="wide">, {plural(elsewhere, 'request')} out</span>
        </span>
      </button>
      <div id="privacy-panel" class="panel" popover="auto" role="dialog" aria-label="Privacy">
        <h2>Nothing leaves this tab</h2>
        <p>
          Counted by this page as it happens, in the page and in its worker. To check it yourself: load the model, then turn your
          network off. Everything goes on working.
        </p>
        <dl class="facts">
          <div>
            <dt>Requests to other hosts</dt>
            <dd>{count(elsewhere)}</dd>
          </div>
          <div>
            <dt>Content sent anywhere</dt>
            <dd>{bytes(sent)}</dd>
          </div>
          <div>
            <dt>Stopped by the page’s policy</dt>
            <dd>{count(blocked)}</dd>
          </div>
          {Object.entries(hosts).map(([host, { requests, bytes: received }]) => (
            <div key={host}>
              <dt>From {host === location.host ? `${host} (this page)` : host}</dt>
              <dd>
                {plural(requests, 'file')}, {bytes(received)}
              </dd>
            </div>
          ))}
        </dl>
        <Forget />
      </div>
    </>
  );
}

function Forget() {
  const [asked, setAsked] = useState(false);
  const [failed, setFailed] = useState('');
  const everything = async () => {
    try {
      await engine().ask('forget', {});
      await forget();
      location.reload();
    } catch (thrown) {
      setFailed(thrown instanceof Error ? thrown.message : 'Not everything could be removed. Close other tabs of this page and try again.');
    }
  };
  return (
    <div class="forget">
      <p>Models, examples, preferences, prompts, settings and the offline copy are kept in this browser, for this page only.</p>
      {asked ? (
        <div class="row">
          <Button look="danger" data-testid="forget-confirm" onClick={() => void everything()}>
            Yes, forget everything
          </Button>
          <Button onClick={() => setAsked(false)}>Keep it</Button>
        </div>
      ) : (
        <Button icon="trash" data-testid="forget-all" onClick={() => setAsked(true)}>
          Forget everything
        </Button>
      )}
      {failed && <p role="alert">{failed}</p>}
    </div>
  );
}
