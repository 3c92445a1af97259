// Colours that people with any colour vision can tell apart: cividis for magnitudes, Okabe and Ito's for series.

/** The colour of a series or band: Okabe and Ito's, lighter on a dark page. */
export function seriesColor(index: number): string {
  return theme(`--series-${index % 4}`);
}

// cividis at 9 places, interpolated between.
const CIVIDIS = [
  [0, 32, 77],
  [0, 57, 111],
  [57, 78, 108],
  [87, 100, 110],
  [113, 122, 118],
  [141, 145, 116],
  [173, 168, 107],
  [208, 194, 91],
  [255, 234, 70],
];

export type Rgb = [number, number, number];

export function cividis(value: number): Rgb {
  const place = Math.min(1, Math.max(0, value)) * (CIVIDIS.length - 1);
  const low = Math.min(CIVIDIS.length - 2, Math.floor(place));
  const part = place - low;
  return CIVIDIS[low].map((channel, index) => Math.round(channel + part * (CIVIDIS[low + 1][index] - channel))) as Rgb;
}

export function css([red, green, blue]: Rgb): string {
  return `rgb(${red} ${green} ${blue})`;
}

/** A colour of the page's theme. */
export function theme(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
