// A transform of the AssemblyScript compiler: gives every text and every area of memory of the filter its place (declared in
// filter/assembly/record/text.ts), so that nothing is built or copied when a VM starts. A string of the language would take two
// bytes a character, an object header, and code that copies it.

import * as compiler from 'assemblyscript';
import { Transform } from 'assemblyscript/transform';

/** @typedef {{ readonly node: object, readonly size: number, readonly align: number }} Area */

const { ArrayLiteralExpression, CallExpression, IdentifierExpression, Node } = compiler;
const { IntegerLiteralExpression, PropertyAccessExpression, StringLiteralExpression } = compiler;
/** The compiler's tokens are a `const enum` to the type checker, and an object when it runs. */
const PLUS = Reflect.get(Reflect.get(compiler, String('Token')), 'Plus');
const BASE = 'filter/assembly/';
const ROOM = `${BASE}record/text`;
const HEAD = 'HEAD';
const REST = 'REST';
/** What stands for the size of the rest before it is known. */
const REST_STAND_IN = 16_384;
const TEXT_BYTES_MAX = 255;
/** An address below 8,192 takes two bytes of code: small areas and texts come first, and what is larger behind them. */
const SMALL_BYTES_MAX = 320;

/**
 * @param {number} value
 * @param {import('assemblyscript').Range} range
 */
function number(value, range) {
  return Node.createIntegerLiteralExpression(Reflect.get(globalThis, 'i64_new')(value), range);
}

/**
 * The bytes of a text. Of a path in one argument its dots part it; in several, each argument is a part as it is.
 * @param {string} callee
 * @param {readonly string[]} literals
 */
function textOf(callee, literals) {
  if (callee === 'text' || literals.length > 1) return literals.join('\0');
  return literals.join('').replaceAll('.', '\0');
}

/**
 * The text of a call of `text` or `path`; undefined for any other node.
 * @param {object} node
 */
function calledText(node) {
  if (!(node instanceof CallExpression) || !(node.expression instanceof IdentifierExpression)) return undefined;
  const callee = node.expression.text;
  if (callee !== 'text' && callee !== 'path') return undefined;
  const literals = node.args.flatMap((one) => (one instanceof StringLiteralExpression ? one.value : []));
  const text = textOf(callee, literals);
  const isRight = literals.length === node.args.length && (callee === 'path' || literals.length === 1);
  if (isRight && text.length > 0 && text.length <= TEXT_BYTES_MAX && !/[^\0-\x7e]/.test(text)) return text;
  const { source, start, end } = node.range;
  throw new Error(`${source.text.slice(start, end)}: must be of 1 to ${TEXT_BYTES_MAX} ASCII characters, literally`);
}

/**
 * The area that a node asks for with `memory.data(size, align)`; undefined for any other node, and for data with a content.
 * @param {object} node
 * @returns {Area | undefined}
 */
function askedArea(node) {
  if (!(node instanceof CallExpression) || !(node.expression instanceof PropertyAccessExpression)) return undefined;
  const { expression, property } = node.expression;
  const isMemory = expression instanceof IdentifierExpression && expression.text === 'memory';
  if (!isMemory || property.text !== 'data') return undefined;
  const [size, align] = node.args.map((one) => (one instanceof IntegerLiteralExpression ? Number(one.value) : 0));
  return size && align ? { node, size, align } : undefined;
}

/**
 * Goes through a syntax tree; what `visit` returns for a node stands in its place.
 * @param {object} node
 * @param {(node: object) => object | undefined} visit
 */
function replaceIn(node, visit) {
  for (const [key, child] of Object.entries(node)) {
    if (!Array.isArray(child) && !(child instanceof Node)) continue;
    const other = visit(child);
    if (other === undefined) replaceIn(child, visit);
    else Reflect.set(node, key, other);
  }
}

/** The memory of the module: a head with a content, and the rest, which is zero. */
class Plan {
  /** @type {Map<object, [base: string, offset: number]>} */
  places = new Map();
  /** @type {number[]} */
  head = [];
  restBytes = 0;

  /**
   * @param {readonly Area[]} areas
   * @param {ReadonlyMap<object, string>} texts
   */
  constructor(areas, texts) {
    const sorted = areas.toSorted((a, b) => a.size - b.size);
    for (const { node, size, align } of sorted.filter((area) => area.size <= SMALL_BYTES_MAX)) {
      this.#fill(align);
      this.places.set(node, [HEAD, this.head.length]);
      this.head.push(...new Array(size).fill(0));
    }
    /** @type {Map<string, number>} */
    const textAt = new Map();
    for (const text of [...new Set(texts.values())].sort()) {
      textAt.set(text, this.head.length);
      this.head.push(text.length, ...Buffer.from(text, 'latin1'));
    }
    for (const [node, text] of texts) this.places.set(node, [HEAD, textAt.get(text) ?? 0]);
    for (const { node, size, align } of sorted.filter((area) => area.size > SMALL_BYTES_MAX)) {
      this.restBytes = Math.ceil(this.restBytes / align) * align;
      this.places.set(node, [REST, this.restBytes]);
      this.restBytes += size;
    }
  }

  /** @param {number} align */
  #fill(align) {
    while (this.head.length % align !== 0) this.head.push(0);
  }

  /**
   * Puts each place into the stead of the call that asked for it.
   * @param {import('assemblyscript').Source} source
   */
  apply({ statements, normalizedPath, range }) {
    /** @type {Set<string>} */
    const bases = new Set();
    replaceIn(statements, (node) => {
      const place = this.places.get(node);
      if (place === undefined || !(node instanceof CallExpression)) return undefined;
      const [base, offset] = place;
      bases.add(base);
      const left = Node.createIdentifierExpression(base, node.range);
      const sum = Node.createBinaryExpression(PLUS, left, number(offset, node.range), node.range);
      return Node.createParenthesizedExpression(sum, node.range);
    });
    if (bases.size === 0) return;
    const declarations = [...bases].map((base) =>
      Node.createImportDeclaration(Node.createIdentifierExpression(base, range), null, range),
    );
    const up = '../'.repeat(normalizedPath.split('/').length - 1);
    const path = Node.createStringLiteralExpression(`${up}${ROOM}`, range);
    statements.unshift(Node.createImportStatement(declarations, path, range));
  }

  /**
   * Declares the memory itself.
   * @param {import('assemblyscript').Source} room
   */
  declare(room) {
    replaceIn(room.statements, (node) => {
      if (node instanceof ArrayLiteralExpression)
        node.elementExpressions = this.head.map((byte) => number(byte, node.range));
      if (node instanceof IntegerLiteralExpression && Number(node.value) === REST_STAND_IN)
        return number(Math.max(this.restBytes, 1), node.range);
      return undefined;
    });
  }
}

export default class StaticData extends Transform {
  /** @param {import('assemblyscript').Parser} parser */
  afterParse({ sources }) {
    const room = sources.find(({ internalPath }) => internalPath === ROOM);
    if (room === undefined) return;
    const users = sources.filter((source) => source !== room && !source.isLibrary);
    /** @type {Area[]} */
    const areas = [];
    /** @type {Map<object, string>} */
    const texts = new Map();
    for (const { statements } of users) {
      replaceIn(statements, (node) => {
        const text = calledText(node);
        if (text !== undefined) texts.set(node, text);
        const area = askedArea(node);
        if (area !== undefined) areas.push(area);
        return undefined;
      });
    }
    const plan = new Plan(areas, texts);
    plan.declare(room);
    for (const source of users) plan.apply(source);
  }
}
