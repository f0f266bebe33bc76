/** The browser of this machine, for tests, benchmarks and pictures. */
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

export const browserNames = [
  'chromium',
  'chromium-browser',
  'google-chrome',
  'google-chrome-stable',
]

/** Path of the first that is on the PATH; undefined if there is none. */
export const findBrowser = (): string | undefined =>
  (process.env.PATH ?? '')
    .split(delimiter)
    .flatMap((directory) => browserNames.map((name) => join(directory, name)))
    .find(isExecutable)

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
