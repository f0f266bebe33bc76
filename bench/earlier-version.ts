/** The service as it was at a commit, in a checkout of its own. */
import { execFileSync } from 'node:child_process'
import { readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../src/config/root.ts'
import { aDirectory, removeDirectory } from './service.ts'

export type EarlierVersion = ReturnType<typeof checkOut>

const git = (...args: string[]) => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim()

const contents = (...path: string[]): string => readFileSync(join(...path), 'utf8')

/** Installs the packages of that commit, or takes those of this checkout where they are the same. */
export function checkOut(commit: string) {
  const path = join(aDirectory(), 'checkout')
  git('worktree', 'add', '--detach', path, commit)
  const lock = 'package-lock.json'
  if (contents(path, lock) === contents(root, lock)) {
    symlinkSync(join(root, 'node_modules'), join(path, 'node_modules'))
  } else {
    const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
    execFileSync('npm', ['ci', ...quiet], { cwd: path, stdio: 'inherit' })
  }
  return {
    path,
    /** Abbreviated hash and subject of the commit. */
    title: git('-C', path, 'log', '-1', '--format=%h %s'),
    /** Builds it and returns the program of the service. */
    build(): string {
      const options = ['--logLevel', 'error', '--outDir', join(path, 'dist')]
      execFileSync('npm', ['run', '--silent', 'bundle', '--', ...options], { cwd: path })
      return join(path, 'dist', 'main.js')
    },
    remove(): void {
      git('worktree', 'remove', '--force', path)
      removeDirectory(join(path, '..'))
    },
  }
}
