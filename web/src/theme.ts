import { signal } from '@preact/signals';

export type Theme = 'system' | 'light' | 'dark';

export const theme = signal<Theme>('system');

const KEY = 'theme';

export function setTheme(next: Theme): void {
  theme.value = next;
  document.documentElement.dataset.theme = next;
  localStorage.setItem(KEY, next);
}

export function restoreTheme(): void {
  const kept = localStorage.getItem(KEY);
  setTheme(kept === 'light' || kept === 'dark' ? kept : 'system');
}
