/** `node --import`: every import of the module REPLACED gets the module REPLACED_BY in its place. */
import { registerHooks } from 'node:module'

const { REPLACED = '', REPLACED_BY = '' } = process.env

registerHooks({
  resolve(specifier, context, next) {
    const found = next(specifier, context)
    // A stand-in may use the rest of the module that it stands for.
    const isReplaced = found.url === REPLACED && context.parentURL !== REPLACED_BY
    return isReplaced ? { ...found, url: REPLACED_BY } : found
  },
})
