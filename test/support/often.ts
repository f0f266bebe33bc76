import fc from 'fast-check'

type WorldOf<May> = { let(happen: (may: May) => void): void }

/** Creates commands of stories in a world: the same one `weight` times, to be chosen among others. */
export const oftenIn =
  <May, World extends WorldOf<May>>() =>
  <T>(
    weight: number,
    phrase: string,
    details: fc.Arbitrary<T>,
    happen: (may: May, detail: T) => void,
  ): fc.Arbitrary<fc.Command<object, World>>[] => {
    const command = details.map((detail) => ({
      check: () => true,
      run: (_: object, world: World) => world.let((may) => happen(may, detail)),
      toString: () => `${phrase} (${fc.stringify(detail)})`,
    }))
    return Array.from({ length: weight }, () => command)
  }
