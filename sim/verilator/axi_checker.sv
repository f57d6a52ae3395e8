// SPDX-License-Identifier: Apache-2.0
// Passive checker of the rules that the machine's AXI4 master and AXI4-Lite subordinate must keep.
// A broken rule ends the simulation with a message that begins with "AXI rule:".

module axi_checker #(
    parameter int BYTES = 16,      // per beat of m_axi
    parameter int MAX_BEATS = 16   // longest burst allowed
) (
    input wire aclk,
    input wire aresetn,
    input wire [63:0] cycle,
    input wire [39:0] m_axi_araddr,
    input wire [7:0] m_axi_arlen,
    input wire [2:0] m_axi_arsize,
    input wire [1:0] m_axi_arburst,
    input wire m_axi_arvalid,
    input wire m_axi_arready,
    input wire [39:0] m_axi_awaddr,
    input wire [7:0] m_axi_awlen,
    input wire [2:0] m_axi_awsize,
    input wire [1:0] m_axi_awburst,
    input wire m_axi_awvalid,
    input wire m_axi_awready,
    input wire [8*BYTES-1:0] m_axi_wdata,
    input wire [BYTES-1:0] m_axi_wstrb,
    input wire m_axi_wlast,
    input wire m_axi_wvalid,
    input wire m_axi_wready,
    input wire [1:0] s_axi_bresp,
    input wire s_axi_bvalid,
    input wire s_axi_bready,
    input wire [31:0] s_axi_rdata,
    input wire [1:0] s_axi_rresp,
    input wire s_axi_rvalid,
    input wire s_axi_rready
);
    // What was offered and not taken in the cycle before; offered again unchanged, or the rule is broken.
    bit running;  // out of reset for a cycle
    bit held_ar, held_aw, held_w, held_b, held_r;
    bit [52:0] last_ar, last_aw;
    bit [8*BYTES+BYTES:0] last_w;
    bit [1:0] last_b;
    bit [33:0] last_r;

    wire [52:0] ar = {m_axi_araddr, m_axi_arlen, m_axi_arsize, m_axi_arburst};
    wire [52:0] aw = {m_axi_awaddr, m_axi_awlen, m_axi_awsize, m_axi_awburst};
    wire [8*BYTES+BYTES:0] w = {m_axi_wlast, m_axi_wstrb, m_axi_wdata};

    task automatic check_hold(string channel, bit held, bit valid, bit same);
        if (held && !valid) $fatal(1, "AXI rule: cycle %0d: %s: VALID fell before READY", cycle, channel);
        if (held && !same) $fatal(1, "AXI rule: cycle %0d: %s: payload changed before READY", cycle, channel);
    endtask

    task automatic check_burst(string channel, bit [39:0] addr, bit [7:0] len, bit [2:0] size, bit [1:0] burst);
        if (int'(len) >= MAX_BEATS)
            $fatal(1, "AXI rule: cycle %0d: %s 0x%0h: %0d beats, more than %0d",
                   cycle, channel, addr, int'(len) + 1, MAX_BEATS);
        if (int'(addr[11:0]) + (int'(len) + 1) * BYTES > 4096)
            $fatal(1, "AXI rule: cycle %0d: %s 0x%0h: %0d beats cross a 4 KiB boundary",
                   cycle, channel, addr, int'(len) + 1);
        if (int'(addr[11:0]) % BYTES != 0)
            $fatal(1, "AXI rule: cycle %0d: %s 0x%0h: not aligned to the %0d bytes of a beat",
                   cycle, channel, addr, BYTES);
        if (int'(size) != $clog2(BYTES) || burst != 2'b01)
            $fatal(1, "AXI rule: cycle %0d: %s 0x%0h: AxSIZE %0d, AxBURST %0d", cycle, channel, addr, size, burst);
    endtask

    always @(posedge aclk) begin
        running <= aresetn;
        if (!aresetn || !running) begin
            if (aresetn && (m_axi_arvalid || m_axi_awvalid || m_axi_wvalid || s_axi_bvalid || s_axi_rvalid))
                $fatal(1, "AXI rule: cycle %0d: VALID in the first cycle after reset", cycle);
            {held_ar, held_aw, held_w, held_b, held_r} <= 5'b0;
        end else begin
            check_hold("AR", held_ar, m_axi_arvalid, ar == last_ar);
            check_hold("AW", held_aw, m_axi_awvalid, aw == last_aw);
            check_hold("W", held_w, m_axi_wvalid, w == last_w);
            check_hold("s_axi B", held_b, s_axi_bvalid, s_axi_bresp == last_b);
            check_hold("s_axi R", held_r, s_axi_rvalid, {s_axi_rresp, s_axi_rdata} == last_r);
            if (m_axi_arvalid && !held_ar) check_burst("AR", m_axi_araddr, m_axi_arlen, m_axi_arsize, m_axi_arburst);
            if (m_axi_awvalid && !held_aw) check_burst("AW", m_axi_awaddr, m_axi_awlen, m_axi_awsize, m_axi_awburst);
            held_ar <= m_axi_arvalid && !m_axi_arready;
            held_aw <= m_axi_awvalid && !m_axi_awready;
            held_w <= m_axi_wvalid && !m_axi_wready;
            held_b <= s_axi_bvalid && !s_axi_bready;
            held_r <= s_axi_rvalid && !s_axi_rready;
            last_ar <= ar;
            last_aw <= aw;
            last_w <= w;
            last_b <= s_axi_bresp;
            last_r <= {s_axi_rresp, s_axi_rdata};
        end
    end
endmodule
