/** Makes a thing anew only when something it is made of is another than the last time. */
export function rememberLast<Key extends object, Rest extends readonly unknown[], Made>(
  make: (key: Key, ...rest: Rest) => Made,
) {
  const last = new WeakMap<Key, Readonly<{ rest: Rest; made: Made }>>()
  return (key: Key, ...rest: Rest): Made => {
    const known = last.get(key)
    if (known?.rest.every((one, index) => one === rest[index])) return known.made
    const made = make(key, ...rest)
    last.set(key, { rest, made })
    return made
  }
}
