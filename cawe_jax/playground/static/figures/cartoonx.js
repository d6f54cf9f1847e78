/** Mounts the figure into its section. */
export function mount() {}
