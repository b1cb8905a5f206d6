-- wrk script: every request is a purchase by a buyer nobody has seen before.
-- Arguments after "--": a tag for this run, the sale's id.
-- No response(): it would make wrk parse every answer in Lua and become what is measured. wrk itself counts
-- the answers that are not 2xx, and compare.py holds the rest against the server's own counters.
local threads = 0

function setup(thread)
    thread:set("id", threads)
    threads = threads + 1
end

function init(args)
    count = 0
    before = "POST /buy HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
    body = '{"saleId":"' .. args[2] .. '","buyerName":"' .. args[1] .. "-" .. id .. "-"
end

function request()
    count = count + 1
    local whole = body .. count .. '"}'
    return before .. #whole .. "\r\n\r\n" .. whole
end

function done(summary, latency)
    io.write(string.format(
        'RESULT {"requests":%d,"not_2xx":%d,"seconds":%.3f,"p50_us":%d,"p99_us":%d,"socket_errors":%d}\n',
        summary.requests, summary.errors.status, summary.duration / 1e6, latency:percentile(50),
        latency:percentile(99),
        summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
