import { type Context, Hono } from 'hono'
import type { RouterRoute } from 'hono/types'
import type { Observe } from '../../domain/observation.ts'
import type { ClientEnv } from '../request/client-env.ts'
import { route } from '../request/route.ts'

const contentType = 'text/plain; version=0.0.4; charset=utf-8'

/** What Prometheus reads. */
export const metricsRoutes = ({ scrape }: Readonly<{ scrape(): Promise<string> }>) =>
  new Hono<ClientEnv>().get(
    '/metrics',
    route({
      id: 'scrapeMetrics',
      access: 'admin',
      tag: 'service',
      summary: 'Figures for Prometheus',
      answers: { 200: { means: 'In its text format', mediaTypes: [contentType] } },
    }),
    async (c) => c.body(await scrape(), 200, { 'Content-Type': contentType }),
  )

/** Tells of each answer by its route, never by its path: nobody is to make up labels. */
export const observeAnswer = (
  c: Context,
  asked: RouterRoute | undefined,
  begun: number,
  observe: Observe,
): void =>
  observe({
    saw: 'requestAnswered',
    method: c.req.method,
    route: asked?.path ?? 'none',
    status: c.res.status,
    tookMs: performance.now() - begun,
  })
