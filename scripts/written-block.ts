/** The part of a page of documentation that a program writes, between two comments. */
export function replaceBlock(
  text: string,
  { name, by, content }: { name: string; by: string; content: string },
): string {
  const begin = `<!-- ${name}: written by ${by} -->\n`
  const end = `<!-- end of ${name} -->`
  const from = text.indexOf(begin)
  const to = text.indexOf(end, from)
  if (from < 0 || to < 0) throw new Error(`no place for ${name}: ${begin}`)
  return text.slice(0, from + begin.length) + content + text.slice(to)
}
