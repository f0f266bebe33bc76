/** Links in the documentation that lead to no file, or to no heading of it. */
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Those to other sites are not followed. */
export function deadLinks(root: string): string[] {
  const pages = globSync(['*.md', '{docs,sim,test}/**/*.md'], { cwd: root })
  return pages.flatMap((page) =>
    linksIn(textOf(join(root, page)))
      .filter((link) => !/^[a-z]+:/.test(link) && !leadsSomewhere(join(root, page), link))
      .map((link) => `${page} has a dead link: ${link}`),
  )
}

function leadsSomewhere(page: string, link: string): boolean {
  const [path = '', heading] = link.split('#')
  const target = path === '' ? page : join(dirname(page), decodeURI(path))
  if (!existsSync(target)) return false
  return heading === undefined || anchorsOf(textOf(target)).includes(heading)
}

const textOf = (path: string): string => readFileSync(path, 'utf8').replaceAll(/^```.*?^```/gms, '')

const linksIn = (text: string): string[] =>
  [...text.replaceAll(/`[^`\n]+`/g, '').matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link)

/** As GitHub makes them of headings. */
const anchorsOf = (text: string): string[] =>
  [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
