/** Light, dark, or as the system has it; kept in this browser. */
import { effect, signal } from '@preact/signals'

export const themes = ['system', 'light', 'dark'] as const
export type Theme = (typeof themes)[number]

const key = 'wan-theme'

export const theme = signal<Theme>(
  themes.find((known) => known === localStorage.getItem(key)) ?? 'system',
)

effect(() => {
  const chosen = theme.value
  if (chosen === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = chosen
  localStorage.setItem(key, chosen)
})

export function nextTheme(): void {
  theme.value = themes[(themes.indexOf(theme.value) + 1) % themes.length] ?? 'system'
}
