/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Memory for data that is too large for the stack, since all functions of a program that call each other share 512
 * bytes of stack. Functions marked CHECKED_ONCE get a cell's number, since they cannot take a pointer. Eight cells for
 * each CPU serve programs that interrupt or preempt each other.
 */
#ifndef TT_CELLS_H
#define TT_CELLS_H

#define CELL_SIZE 208
#define CELLS_PER_CPU 8

struct cell {
	__u32 taken;
	__u32 pad;
	__u64 memory[CELL_SIZE / 8];
};

/* User space sets the number of cells, by the number of CPUs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CELLS_PER_CPU);
	__type(key, __u32);
	__type(value, struct cell);
} tt_cells SEC(".maps");

static __always_inline void *cell_at(__u32 number)
{
	struct cell *cell = bpf_map_lookup_elem(&tt_cells, &number);

	return cell ? cell->memory : 0;
}

/* Takes and clears a cell; returns its number plus one, or 0 if all are in use. */
CHECKED_ONCE __u64 take_cell(void)
{
	__u32 i, number;

	for (i = 0; i < CELLS_PER_CPU; i++) {
		struct cell *cell;

		number = bpf_get_smp_processor_id() * CELLS_PER_CPU + i;
		cell = bpf_map_lookup_elem(&tt_cells, &number);
		if (cell && claim(&cell->taken, 1)) {
			__builtin_memset(cell->memory, 0, sizeof(cell->memory));
			return number + 1;
		}
	}
	return 0;
}

static __always_inline void give_cell_back(__u32 number)
{
	struct cell *cell = bpf_map_lookup_elem(&tt_cells, &number);

	if (cell)
		unclaim(&cell->taken, 1);
}

#endif
