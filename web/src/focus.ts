// The place of the keyboard: where what has the focus goes away, or cannot be pressed any more, the focus goes to what is nearest.

const FOCUSABLE = 'a[href], button:not(:disabled), input:not(:disabled), select:not(:disabled), textarea:not(:disabled), summary, [tabindex="0"]';

/** What had the focus last, and all that it was in, from the inside out. */
let place: Element[] = [];

function placeOf(element: Element | null): Element[] {
  const found: Element[] = [];
  for (let at = element; at && at !== document.body; at = at.parentElement) found.push(at);
  return found;
}

/** What has the focus for as long as nothing in it can be pressed. */
let standIn: HTMLElement | null = null;

/** Brings the focus back when it has fallen to the body. */
function bringBack(): void {
  const active = document.activeElement;
  if (standIn && active === standIn && standIn.checkVisibility()) return next(standIn)?.focus({ preventScroll: true });
  if (active !== document.body || !place.length || !document.hasFocus()) return;
  const [, ...around] = place;
  const nearest = around.find((element) => element.isConnected && (element as HTMLElement).checkVisibility());
  if (!nearest) return;
  const target = next(nearest) ?? (nearest as HTMLElement);
  if (target === nearest) {
    target.tabIndex = -1;
    standIn = target;
  }
  target.focus({ preventScroll: true });
}

/** The first thing in an element that can be pressed. */
const next = (element: Element): HTMLElement | undefined => [...element.querySelectorAll<HTMLElement>(FOCUSABLE)].find((one) => one.checkVisibility());

/** From now on the focus never falls to the body, unless the person presses beside everything. */
export function keepFocus(): void {
  document.addEventListener('focusin', ({ target }) => (place = placeOf(target as Element)));
  document.addEventListener('pointerdown', ({ target }) => {
    if (!(target as Element).closest(`${FOCUSABLE}, label`)) place = [];
  });
  let waiting = false;
  const look = () => {
    if (waiting) return;
    waiting = true;
    // What takes the place of what went is there by then.
    setTimeout(() => {
      waiting = false;
      bringBack();
    }, 60);
  };
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ['disabled'] });
}
