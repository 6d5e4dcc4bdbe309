// A straight line through values: whether they move, and how sure that is.

export interface Line {
  /** Change from one value to the next. */
  readonly slope: number;
  /** Standard error of the slope; NaN below three values. */
  readonly error: number;
}

/** The least-squares line through values at 0, 1, 2, ... */
export function line(values: readonly number[]): Line {
  const count = values.length;
  const middle = (count - 1) / 2;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  const spread = values.reduce((sum, _, i) => sum + (i - middle) ** 2, 0);
  const slope = values.reduce((sum, value, i) => sum + (i - middle) * (value - mean), 0) / spread;
  const rest = values.reduce((sum, value, i) => sum + (value - mean - slope * (i - middle)) ** 2, 0);
  return { slope, error: count < 3 ? Number.NaN : Math.sqrt(rest / (count - 2) / spread) };
}
