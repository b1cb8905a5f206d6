-- wrk script: purchases by buyers nobody has seen before, spread over all sales in turn.
-- Arguments after "--": a tag for this run, the sales' ids.
-- No response(): it would make wrk parse every answer in Lua and become what is measured. wrk counts by itself
-- the answers that are not 2xx.
local threads = 0

function setup(thread)
    thread:set("id", threads)
    threads = threads + 1
end

function init(args)
    count, tag, sales = 0, args[1] .. "-" .. id .. "-", {}
    for n = 2, #args do table.insert(sales, '{"saleId":"' .. args[n] .. '","buyerName":"') end
    before = "POST /buy HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
end

function request()
    count = count + 1
    local body = sales[count % #sales + 1] .. tag .. count .. '"}'
    return before .. #body .. "\r\n\r\n" .. body
end

function done(summary, latency)
    io.write(string.format(
        'RESULT {"requests":%d,"not_2xx":%d,"seconds":%.3f,"p50_us":%d,"p99_us":%d,"socket_errors":%d}\n',
        summary.requests, summary.errors.status, summary.duration / 1e6, latency:percentile(50),
        latency:percentile(99),
        summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
