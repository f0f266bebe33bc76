/** Requests as any client of the service makes them. */
export const send = (url: string, method = 'GET', body?: object): Promise<Response> =>
  fetch(url, {
    method,
    ...(body && { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } }),
  })

/** The id of a job that was taken; throws if it was not. */
export async function submit(url: string, body: object): Promise<string> {
  const response = await send(`${url}/generate`, 'POST', body)
  if (response.status !== 202) throw new Error(`refused: ${await response.text()}`)
  return ((await response.json()) as { id: string }).id
}
