import {
  type DataTypeNode,
  type KyselyPlugin,
  OperationNodeTransformer,
  type PluginTransformQueryArgs,
  type PluginTransformResultArgs,
  type QueryResult,
  type RootOperationNode,
  type UnknownRow,
} from 'kysely'

/** In SQLite an `integer` has 64 bits and a `real` is a double. Migrations are written in its words. */
export const wideColumns: KyselyPlugin = {
  transformQuery: ({ node }: PluginTransformQueryArgs): RootOperationNode =>
    wide.transformNode(node),
  transformResult: async ({
    result,
  }: PluginTransformResultArgs): Promise<QueryResult<UnknownRow>> => result,
}

const widths: Readonly<Record<string, DataTypeNode['dataType']>> = {
  integer: 'bigint',
  real: 'double precision',
}

class WideTransformer extends OperationNodeTransformer {
  protected override transformDataType(node: DataTypeNode): DataTypeNode {
    const dataType = widths[node.dataType]
    return dataType === undefined ? node : { ...node, dataType }
  }
}

const wide = new WideTransformer()
