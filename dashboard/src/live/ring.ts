/** The last so many rows of numbers, in memory that is taken once. */
export class Ring {
  private readonly columns: Float64Array[];
  private next = 0;
  private filled = 0;

  constructor(
    readonly width: number,
    readonly capacity: number,
  ) {
    this.columns = Array.from({ length: width }, () => new Float64Array(capacity));
  }

  get length(): number {
    return this.filled;
  }

  push(row: readonly number[]): void {
    this.columns.forEach((column, at) => (column[this.next] = row[at] ?? Number.NaN));
    this.next = (this.next + 1) % this.capacity;
    this.filled = Math.min(this.filled + 1, this.capacity);
  }

  clear(): void {
    this.next = 0;
    this.filled = 0;
  }

  /** A column from the oldest to the newest, in an array that is given back. */
  column(at: number, into: Float64Array = new Float64Array(this.filled)): Float64Array {
    const column = this.columns[at];
    if (!column) return into;
    const first = (this.next - this.filled + this.capacity) % this.capacity;
    const head = Math.min(this.filled, this.capacity - first);
    into.set(column.subarray(first, first + head), 0);
    into.set(column.subarray(0, this.filled - head), head);
    return into;
  }
}
