// The filter language: CEL over the attributes of core/attributes.ts. Text is parsed by a library, then checked and compiled here:
// absence must stay absence (CEL would read a missing field as an error of the data), and nothing may cost more than its limits.

import {
  ATTRIBUTES,
  type Attribute,
  type AttributeType,
  type AttributeValue,
  type FilterRow,
  nearestAttribute,
} from '../attributes.ts';
import { parseDurationNs, parseRfc3339 } from '../time.ts';
import { invalid, type Node, parse, placeOf } from './parse.ts';
import { slipOf, strangeValue } from './slips.ts';

/** A compiled filter. */
export interface Filter {
  readonly text: string;
  /** Whether a record matches; absent values make a comparison neither true nor false, and such a record does not match. */
  matches(row: FilterRow): boolean;
  /** Bounds on `time` that every match obeys: what a scan may skip. */
  readonly bounds: TimeBounds;
}

export interface TimeBounds {
  readonly sinceNs?: bigint;
  /** Exclusive. */
  readonly untilNs?: bigint;
}

/** A value, or undefined: absent, or an error that came from an absence. */
type Value = AttributeValue | undefined;
type Evaluate = (row: FilterRow) => Value;

interface Compiled {
  readonly type: AttributeType;
  readonly evaluate: Evaluate;
  /** Set for what does not depend on the record. */
  readonly constant?: AttributeValue;
  /** Set for a plain attribute. */
  readonly attribute?: Attribute;
  readonly bounds?: TimeBounds;
}

const withArticle = (type: AttributeType): string => `${type === 'int' ? 'an' : 'a'} ${type}`;

/** Parses, checks and compiles a filter. Throws FILTER_INVALID with the position, and the nearest field name for an unknown one. */
export function parseFilter(text: string): Filter {
  const root = parse(text);
  const compiled = compile(root);
  if (compiled.type !== 'bool')
    throw invalid(placeOf(root), `it gives ${withArticle(compiled.type)}; a filter gives true or false.`);
  const { evaluate } = compiled;
  return { text, matches: (row) => evaluate(row) === true, bounds: compiled.bounds ?? {} };
}

function compile(node: Node): Compiled {
  switch (node.op) {
    case '&&':
    case '||':
      return logical(node);
    case '!_':
      return negation(node);
    case '==':
    case '!=':
    case '<':
    case '<=':
    case '>':
    case '>=':
      return comparison(node);
    case 'in':
      return membership(node);
    case 'id':
    case '.':
      return attribute(node);
    case '[]':
      return header(node);
    case 'value':
      return literal(node);
    case '-_':
      return negative(node);
    case 'call':
    case 'rcall':
      return call(node);
    case '?:':
      return conditional(node);
    default:
      throw invalid(placeOf(node), `${JSON.stringify(node.op)} is not part of the filter language; see docs/query.md.`);
  }
}

function expectType(node: Node, type: AttributeType): Compiled {
  const compiled = compile(node);
  if (compiled.type !== type)
    throw invalid(placeOf(node), `${withArticle(type)} is needed here, and this is ${withArticle(compiled.type)}.`);
  return compiled;
}

/** CEL's logic: one decided side decides, whatever the other is; otherwise absence stays absence. */
function logical(node: Node): Compiled {
  const [left, right] = (node.args as [Node, Node]).map((side) => expectType(side, 'bool')) as [Compiled, Compiled];
  const deciding = node.op === '||';
  const evaluate: Evaluate = (row) => {
    const a = left.evaluate(row);
    if (a === deciding) return deciding;
    const b = right.evaluate(row);
    if (b === deciding) return deciding;
    return a === undefined || b === undefined ? undefined : !deciding;
  };
  return { type: 'bool', evaluate, ...(deciding ? {} : { bounds: both(left.bounds, right.bounds) }) };
}

function both(a: TimeBounds = {}, b: TimeBounds = {}): TimeBounds {
  const since = [a.sinceNs, b.sinceNs].filter((ns) => ns !== undefined);
  const until = [a.untilNs, b.untilNs].filter((ns) => ns !== undefined);
  return {
    ...(since.length > 0 ? { sinceNs: since.reduce((x, y) => (x > y ? x : y)) } : {}),
    ...(until.length > 0 ? { untilNs: until.reduce((x, y) => (x < y ? x : y)) } : {}),
  };
}

function negation(node: Node): Compiled {
  const operand = expectType(node.args as Node, 'bool');
  expectChoice(operand, node, { constant: false });
  const { evaluate } = operand;
  return {
    type: 'bool',
    evaluate: (row) => {
      const value = evaluate(row);
      return value === undefined ? undefined : !value;
    },
  };
}

function conditional(node: Node): Compiled {
  const [test, yes, no] = node.args as [Node, Node, Node];
  const condition = expectType(test, 'bool');
  const first = compile(yes);
  const second = expectType(no, first.type);
  return {
    type: first.type,
    evaluate: (row) => {
      const value = condition.evaluate(row);
      return value === undefined ? undefined : value ? first.evaluate(row) : second.evaluate(row);
    },
  };
}

const COMPARE: Readonly<Record<string, (a: AttributeValue, b: AttributeValue) => boolean>> = {
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '<': (a, b) => a < b,
  '<=': (a, b) => a <= b,
  '>': (a, b) => a > b,
  '>=': (a, b) => a >= b,
};

function comparison(node: Node): Compiled {
  const [leftNode, rightNode] = node.args as [Node, Node];
  const left = compile(leftNode);
  const right = compile(rightNode);
  if (left.type !== right.type)
    throw invalid(placeOf(node), `${withArticle(left.type)} cannot be compared with ${withArticle(right.type)}.`);
  const isOrder = node.op !== '==' && node.op !== '!=';
  if (left.type === 'map' || (isOrder && left.type === 'bool'))
    throw invalid(placeOf(node), `${node.op} does not apply to ${withArticle(left.type)}.`);
  if (!isOrder) {
    expectChoice(left, rightNode, asEqual(node.op, right));
    expectChoice(right, leftNode, asEqual(node.op, left));
  }
  const compare = COMPARE[node.op] as (a: AttributeValue, b: AttributeValue) => boolean;
  const evaluate: Evaluate = (row) => {
    const a = left.evaluate(row);
    const b = right.evaluate(row);
    return a === undefined || b === undefined ? undefined : compare(a, b);
  };
  return { type: 'bool', evaluate, ...timeBounds(node.op, left, right) };
}

/** A constant that a field never has is a slip: as a filter it would match nothing, or everything, without a word. */
function expectChoice({ attribute }: Compiled, node: Node, { constant }: Pick<Compiled, 'constant'>): void {
  const strange = attribute === undefined || constant === undefined ? undefined : strangeValue(attribute, constant);
  if (strange !== undefined) throw invalid(placeOf(node), strange.message, strange.nearest);
}

/** What a side of `==` or `!=` is asked for: `!= true` asks for false. */
function asEqual(op: string, side: Compiled): Pick<Compiled, 'constant'> {
  return op === '!=' && typeof side.constant === 'boolean' ? { constant: !side.constant } : side;
}

const FLIP: Readonly<Record<string, string>> = { '<': '>', '<=': '>=', '>': '<', '>=': '<=', '==': '==' };

function timeBounds(op: string, left: Compiled, right: Compiled): { readonly bounds?: TimeBounds } {
  if (left.type !== 'timestamp') return {};
  if (right.attribute?.name === 'time' && left.constant !== undefined)
    return op in FLIP ? timeBounds(FLIP[op] as string, right, left) : {};
  if (left.attribute?.name !== 'time' || typeof right.constant !== 'bigint') return {};
  const ns = right.constant;
  if (op === '>') return { bounds: { sinceNs: ns + 1n } };
  if (op === '>=') return { bounds: { sinceNs: ns } };
  if (op === '<') return { bounds: { untilNs: ns } };
  if (op === '<=') return { bounds: { untilNs: ns + 1n } };
  return op === '==' ? { bounds: { sinceNs: ns, untilNs: ns + 1n } } : {};
}

function membership(node: Node): Compiled {
  const [needleNode, listNode] = node.args as [Node, Node];
  const needle = compile(needleNode);
  if (listNode.op !== 'list')
    throw invalid(placeOf(listNode), 'a list is needed behind "in", such as ["denied", "failed"].');
  const values = new Set(
    (listNode.args as Node[]).map((item) => {
      const element = expectType(item, needle.type);
      if (element.constant === undefined) throw invalid(placeOf(item), 'a list holds constants only.');
      expectChoice(needle, item, element);
      return element.constant;
    }),
  );
  return {
    type: 'bool',
    evaluate: (row) => {
      const value = needle.evaluate(row);
      return value === undefined ? undefined : values.has(value);
    },
  };
}

/** The dotted name of a field selection, or undefined when it is something else. */
function nameOf(node: Node): string | undefined {
  if (node.op === 'id') return String(node.args);
  if (node.op !== '.') return undefined;
  const [owner, field] = node.args as [Node, string];
  const head = nameOf(owner);
  return head === undefined ? undefined : `${head}.${field}`;
}

function hintFor(name: string | undefined, nearest: string | undefined): string {
  if (nearest !== undefined) return `; did you mean ${nearest}?`;
  return name === undefined || name.includes('.') ? '.' : `; a text stands in quotes: "${name}".`;
}

function knownAttribute(node: Node): Attribute {
  const name = nameOf(node);
  const found = name === undefined ? undefined : ATTRIBUTES.get(name);
  if (found !== undefined) return found;
  const nearest = name === undefined ? undefined : nearestAttribute(name);
  throw invalid(placeOf(node), `there is no field ${JSON.stringify(name ?? '')}${hintFor(name, nearest)}`, nearest);
}

function attribute(node: Node): Compiled {
  const found = knownAttribute(node);
  return { type: found.type, evaluate: found.of, attribute: found };
}

function header(node: Node): Compiled {
  const [ownerNode, keyNode] = node.args as [Node, Node];
  const owner = expectType(ownerNode, 'map');
  const { constant } = expectType(keyNode, 'string');
  if (typeof constant !== 'string') throw invalid(placeOf(keyNode), 'a constant text is needed in the brackets.');
  const key = constant.toLowerCase();
  return {
    type: 'string',
    evaluate: (row) => {
      const map = owner.evaluate(row) as Readonly<Record<string, string>> | undefined;
      return map !== undefined && Object.hasOwn(map, key) ? map[key] : undefined;
    },
  };
}

function constantOf(type: AttributeType, constant: AttributeValue): Compiled {
  return { type, constant, evaluate: () => constant };
}

function literal(node: Node): Compiled {
  const value = node.args;
  if (typeof value === 'string') return constantOf('string', value);
  if (typeof value === 'boolean') return constantOf('bool', value);
  if (typeof value === 'bigint') {
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid(placeOf(node), 'whole numbers go up to 2^53 - 1.');
    return constantOf('int', Number(value));
  }
  throw invalid(
    placeOf(node),
    'constants are texts, whole numbers, true and false; an absent field is asked for with has().',
  );
}

function negative(node: Node): Compiled {
  const { constant } = expectType(node.args as Node, 'int');
  if (typeof constant !== 'number') throw invalid(placeOf(node), 'a minus stands before a number only.');
  return constantOf('int', -constant);
}

const TEXT_FUNCTIONS: Readonly<Record<string, (text: string, part: string) => boolean>> = {
  startsWith: (text, part) => text.startsWith(part),
  endsWith: (text, part) => text.endsWith(part),
  contains: (text, part) => text.includes(part),
};

function call(node: Node): Compiled {
  const [name, ...rest] = node.args as [string, ...unknown[]];
  const isMethod = node.op === 'rcall';
  const parameters = (isMethod ? [rest[0], ...(rest[1] as Node[])] : rest[0]) as Node[];
  const takes = (count: number): void => {
    if (parameters.length !== count)
      throw invalid(
        placeOf(node),
        `${name}() takes ${isMethod ? count - 1 : count} argument${count === (isMethod ? 2 : 1) ? '' : 's'}.`,
      );
  };
  if (name === 'has' && !isMethod) {
    takes(1);
    const { evaluate } =
      (parameters[0] as Node).op === '[]' ? header(parameters[0] as Node) : attribute(parameters[0] as Node);
    return { type: 'bool', evaluate: (row) => evaluate(row) !== undefined };
  }
  if (name === 'size') {
    takes(1);
    const { evaluate } = expectType(parameters[0] as Node, 'string');
    return {
      type: 'int',
      evaluate: (row) => {
        const text = evaluate(row);
        return text === undefined ? undefined : [...(text as string)].length;
      },
    };
  }
  if (isMethod && Object.hasOwn(TEXT_FUNCTIONS, name)) {
    takes(2);
    return textFunction(TEXT_FUNCTIONS[name] as (text: string, part: string) => boolean, parameters as [Node, Node]);
  }
  if ((name === 'timestamp' || name === 'duration') && !isMethod) {
    takes(1);
    return moment(name, parameters[0] as Node);
  }
  if (name === 'matches')
    throw invalid(placeOf(node), 'matches() is not supported: use startsWith(), endsWith() or contains().');
  throw invalid(
    placeOf(node),
    slipOf(name) ??
      `there is no function ${name}(); there are has, size, startsWith, endsWith, contains, timestamp and duration.`,
  );
}

function textFunction(test: (text: string, part: string) => boolean, [textNode, partNode]: [Node, Node]): Compiled {
  const text = expectType(textNode, 'string');
  const part = expectType(partNode, 'string');
  return {
    type: 'bool',
    evaluate: (row) => {
      const a = text.evaluate(row);
      const b = part.evaluate(row);
      return a === undefined || b === undefined ? undefined : test(a as string, b as string);
    },
  };
}

function moment(name: 'timestamp' | 'duration', node: Node): Compiled {
  const { constant } = expectType(node, 'string');
  const ns =
    typeof constant !== 'string'
      ? undefined
      : name === 'timestamp'
        ? parseRfc3339(constant)
        : parseDurationNs(constant);
  if (ns === undefined)
    throw invalid(
      placeOf(node),
      name === 'timestamp'
        ? 'a constant RFC 3339 time with a zone is needed.'
        : 'a constant duration is needed, such as "1.5s" or "1h30m".',
    );
  return constantOf(name, ns);
}
