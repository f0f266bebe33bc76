/** Drawn in one weight; never the only name of anything. */
import type { JSX } from 'preact'

const icon = (shape: JSX.Element) => () => (
  <svg class="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
    {shape}
  </svg>
)

export const Play = icon(<path d="M6.5 4.2v11.6L16 10z" fill="currentColor" stroke="none" />)
export const Download = icon(<path d="M10 3v9m0 0 3.5-3.5M10 12 6.5 8.5M4 16.5h12" />)
export const Again = icon(<path d="M15.5 8A6 6 0 1 0 16 11.5M15.8 3.5V8h-4.5" />)
export const Dice = icon(
  <>
    <rect x="3.5" y="3.5" width="13" height="13" rx="3" />
    <path d="M7.2 7.2h.01M12.8 7.2h.01M10 10h.01M7.2 12.8h.01M12.8 12.8h.01" stroke-width="2.2" />
  </>,
)
export const Cross = icon(<path d="m5.5 5.5 9 9m0-9-9 9" />)
export const Back = icon(<path d="M11.5 4.5 6 10l5.5 5.5M6.5 10H16" />)
export const Film = icon(
  <>
    <rect x="3" y="4" width="14" height="12" rx="2.5" />
    <path d="M7 4v12M13 4v12M3 8h4m-4 4h4m6-4h4m-4 4h4" />
  </>,
)
export const Copy = icon(
  <>
    <rect x="7" y="7" width="9" height="9" rx="2" />
    <path d="M13 7V6a2 2 0 0 0-2-2H6a2 2 0 0 0-2 2v5a2 2 0 0 0 2 2h1" />
  </>,
)
export const Sun = icon(
  <>
    <circle cx="10" cy="10" r="3.2" />
    <path d="M10 2.8v1.6m0 11.2v1.6m7.2-7.2h-1.6M4.4 10H2.8m12.3-5.1L14 6M6 14l-1.1 1.1m10.2 0L14 14M6 6 4.9 4.9" />
  </>,
)
export const Moon = icon(<path d="M16.5 11.6A6.8 6.8 0 1 1 8.4 3.5a5.4 5.4 0 0 0 8.1 8.1z" />)
export const HalfMoon = icon(
  <>
    <circle cx="10" cy="10" r="6.5" />
    <path d="M10 3.5a6.5 6.5 0 0 1 0 13z" fill="currentColor" />
  </>,
)
export const Pencil = icon(<path d="m4 16 .8-3.3L13 4.5 15.5 7l-8.2 8.2zM11.5 6 14 8.5" />)
export const Logo = () => (
  <svg class="logo" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
    <rect width="32" height="32" rx="8" class="logo-ground" />
    <path d="M6 11l4.2 11L16 13l5.8 9L26 11" class="logo-line" />
  </svg>
)
