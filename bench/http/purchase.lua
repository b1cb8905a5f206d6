-- wrk script: every request is a purchase by a buyer nobody has seen before. Counts what came back by
-- status, so that accepted and refused purchases are never mixed up.
-- Arguments after "--": a tag for this run, the sale's id.
local threads = {}

function setup(thread)
    thread:set("id", #threads)
    table.insert(threads, thread)
end

function init(args)
    tag, sale, count = args[1] .. "-" .. id .. "-", args[2], 0
    created, refused, other = 0, 0, 0
    wrk.headers["Content-Type"] = "application/json"
end

function request()
    count = count + 1
    return wrk.format("POST", "/buy", nil,
        '{"saleId":"' .. sale .. '","buyerName":"' .. tag .. count .. '"}')
end

function response(status)
    if status == 201 then created = created + 1
    elseif status == 400 then refused = refused + 1
    else other = other + 1 end
end

function done(summary, latency, requests)
    local totals = {created = 0, refused = 0, other = 0}
    for _, thread in ipairs(threads) do
        for name in pairs(totals) do totals[name] = totals[name] + thread:get(name) end
    end
    io.write(string.format(
        'RESULT {"requests":%d,"created":%d,"refused":%d,"other":%d,"seconds":%.3f,"p50_us":%d,"p99_us":%d,"socket_errors":%d}\n',
        summary.requests, totals.created, totals.refused, totals.other, summary.duration / 1e6,
        latency:percentile(50), latency:percentile(99),
        summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
