-- A purchase in Redis, whole or not at all: the job of flashd's POST /buy, as a flash-sale stack does it.
--
-- KEYS: the sale (hash), its buyers (hash: buyer -> the live order's id), its waiting list (list of order ids).
-- ARGV: buyer, quantity. Adds the hash order:ID, whose name only this script knows: one Redis, not a cluster.
-- Returns "STATE ID SEQ MS": STATE payment or waiting, MS when the hold ends or, waiting, the place in the list.
-- Fails with "REFUSED CODE"; the codes are flashd's.
local sale = redis.call('HMGET', KEYS[1], 'id', 'endsAt', 'holdMs', 'maxPerBuyer', 'productQty', 'sold', 'available',
    'waiting', 'seq')
if not sale[1] then return redis.error_reply('REFUSED not-found') end

local time = redis.call('TIME')
local now, wanted = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[2])
if now >= tonumber(sale[2]) then return redis.error_reply('REFUSED sale-not-active') end
if sale[6] == sale[5] then return redis.error_reply('REFUSED sold-out') end
if wanted > tonumber(sale[4]) then return redis.error_reply('REFUSED quantity-over-limit') end

local seq, available, waiting = sale[9] + 1, tonumber(sale[7]), tonumber(sale[8])
local id = string.format('%016x%08x', now, seq)
if redis.call('HSETNX', KEYS[2], ARGV[1], id) == 0 then return redis.error_reply('REFUSED already-joined') end

local state, at = 'payment', now + sale[3]
if waiting == 0 and available >= wanted then
    redis.call('HSET', KEYS[1], 'available', available - wanted, 'seq', seq)
else
    state, at = 'waiting', redis.call('RPUSH', KEYS[3], id)
    redis.call('HSET', KEYS[1], 'waiting', waiting + 1, 'seq', seq)
end
redis.call('HSET', 'order:' .. id, 'sale', sale[1], 'buyer', ARGV[1], 'quantity', wanted, 'state', state,
    'createdAt', now, 'at', at)
return string.format('%s %s %d %d', state, id, seq, at)
