// What the entries of a Jacobian are called, and their units: m and rad for joints, one for actions.

import type { Metadata } from "./store";

const JOINT_UNITS: Record<string, string[]> = {
  free: ["m", "m", "m", "rad", "rad", "rad"],
  ball: ["rad", "rad", "rad"],
  slide: ["m"],
  hinge: ["rad"],
};

/** Units of the tangent state: positions, velocities, and activations, which have none. */
export function tangentUnits(metadata: Metadata): string[] {
  const { nv, dx } = metadata.sizes;
  const units = new Array<string>(dx).fill("");
  for (const joint of metadata.joints)
    for (const [offset, unit] of (JOINT_UNITS[joint.type] ?? []).entries()) {
      units[joint.dof_address + offset] = unit;
      units[joint.dof_address + offset + nv] = `${unit}/s`;
    }
  return units;
}

/** The unit of one entry of [J_s | J_a], as in "(m/s)/rad". */
export function entryUnit(metadata: Metadata, [effect, cause]: [number, number]): string {
  const units = tangentUnits(metadata);
  const [above, below] = [units[effect], cause < metadata.sizes.dx ? units[cause] : ""];
  if (above === below) return "1";
  if (!below) return above;
  const [numerator, denominator] = [above, below].map((unit) => (unit.includes("/") ? `(${unit})` : unit));
  return `${numerator || "1"}/${denominator}`;
}

export function causeName(metadata: Metadata, cause: number): string {
  const { dx } = metadata.sizes;
  return cause < dx ? metadata.tangent_names[cause] : metadata.action_names[cause - dx];
}

export function entryName(metadata: Metadata, [effect, cause]: [number, number]): string {
  return `∂ next ${metadata.tangent_names[effect]} / ∂ ${causeName(metadata, cause)}`;
}

/** The names of the bits that a row's flags have. */
export function flagNames(metadata: Metadata, flags: number): string[] {
  return Object.entries(metadata.flag_bits)
    .filter(([, bit]) => (flags >> bit) & 1)
    .map(([name]) => name);
}
