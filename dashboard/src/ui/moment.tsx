import { moment, when } from "../format";

/** A time in a table: as short as it can be, in full when it is pointed at. */
export function Moment({ at }: { at: string | number | null | undefined }) {
  return (
    <span class="nowrap" title={at === null || at === undefined || at === "" ? undefined : when(at)}>
      {moment(at)}
    </span>
  );
}
