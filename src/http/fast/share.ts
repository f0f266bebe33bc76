/**
 * Whoever asks the same in one turn of the loop gets one answer: many may look at the same job. No
 * answer is older than its question, for nobody can have heard of a change and asked within a turn.
 */
export function sharing<Answer>() {
  const asked = new Map<string, Promise<Answer>>()
  return (question: string, find: () => Promise<Answer>): Promise<Answer> => {
    const known = asked.get(question)
    if (known) return known
    if (asked.size === 0) setImmediate(() => asked.clear())
    const answer = find()
    asked.set(question, answer)
    return answer
  }
}
