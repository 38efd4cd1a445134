/** The addresses that egress refuses, in every spelling; and what lists of rules take. */
import assert from 'node:assert/strict'
import { networkInterfaces } from 'node:os'
import { describe, it } from 'node:test'

import { contains, formatAddress, parseAddress, parseNetwork, specialKind } from './addresses.ts'
import { createGuard } from './guard.ts'
import { canonicalRule, findRule, parseRule, parseServiceName, parseTarget } from './rules.ts'

const guard = createGuard([], [])
const refusal = (text: string, port = 443): string | undefined => {
  const target = parseTarget(`${text}:${port}`)
  if (typeof target === 'string') return target
  assert.equal(target.kind, 'address', text)
  return target.kind === 'address' ? guard(target.address, port) : undefined
}

describe('addresses that are nobody’s public server', () => {
  const refused: Record<string, string[]> = {
    metadata: ['169.254.169.254', '[::ffff:169.254.169.254]', '[64:ff9b::a9fe:a9fe]', '[fd00:ec2::254]', '168.63.129.16', '100.100.100.200'],
    loopback: [
      '127.0.0.1',
      '127.255.1.2',
      '[::1]',
      '[::ffff:127.0.0.1]',
      '[::ffff:7f00:1]',
      '[0:0:0:0:0:ffff:7f00:0001]',
      '[64:ff9b::7f00:1]',
      '[64:ff9b::127.0.0.1]',
      '[2002:7f00:1::]',
      '[::127.0.0.1]',
    ],
    private: [
      '10.0.0.1',
      '172.16.0.1',
      '172.31.255.255',
      '192.168.1.1',
      '[fc00::1]',
      '[fd12:3456::1]',
      '[fec0::1]',
      '[::ffff:10.1.2.3]',
      '[64:ff9b::10.0.0.1]',
      '[2002:c0a8:0101::1]',
    ],
    shared: ['100.64.0.1', '100.127.255.255'],
    'link-local': ['169.254.1.1', '[fe80::1]', '[febf::1]'],
    multicast: ['224.0.0.1', '239.255.255.255', '[ff02::1]'],
    unspecified: ['0.0.0.0', '0.1.2.3', '[::]', '[::ffff:0.0.0.0]'],
    broadcast: ['255.255.255.255'],
    reserved: ['240.0.0.1', '192.0.0.8', '198.18.0.1', '[64:ff9b:1::1]', '[100::1]', '[2001::1]', '[4000::1]', '[::2:0:0]'],
    documentation: ['192.0.2.1', '203.0.113.7', '[2001:db8::1]'],
  }
  for (const [kind, texts] of Object.entries(refused)) {
    it(`refuses ${kind} ones: ${texts.join(' ')}`, () => {
      for (const text of texts) assert.match(refusal(text) ?? `${text} is admitted`, new RegExp(kind), text)
    })
  }

  it('refuses other spellings of IPv4 addresses, and zones, before anything is looked up', () => {
    for (const text of [
      '2130706433',
      '0x7f000001',
      '0x7f.1',
      '127.1',
      '0177.0.0.1',
      '127.0.0.01',
      '127.0.0.0x1',
      '127.0.0.1.',
      '0',
      '1.2.3.4.5',
      '[fe80::1%eth0]',
      '[::1%25lo]',
      '[127.0.0.1]',
      '[1.2.3]',
      '::1',
      '999.1.1.1',
    ]) {
      const target = parseTarget(`${text}:80`)
      assert.equal(typeof target, 'string', `${text} became ${JSON.stringify(target)}`)
    }
  })

  it('admits public ones, also those that lead through NAT64 and 6to4', () => {
    for (const text of ['8.8.8.8', '1.1.1.1', '172.32.0.1', '100.128.0.1', '[2606:4700::1111]', '[64:ff9b::808:808]', '[2002:808:808::1]', '[::ffff:8.8.8.8]'])
      assert.equal(refusal(text), undefined, text)
  })

  it('refuses every address of this machine, whatever it is', () => {
    const own = Object.values(networkInterfaces()).flatMap((entries) => (entries ?? []).map(({ address }) => address))
    assert.ok(own.length > 0)
    for (const address of own) assert.ok(guard(parseAddress(address.replace(/%.*/, ''))!, 80), address)
  })

  it('lets the operator open networks, but never the server’s own ports', () => {
    const opened = createGuard(['127.0.0.0/8', 'fd00::/8'], [8_081])
    assert.equal(opened(parseAddress('127.0.0.1')!, 5_432), undefined)
    assert.equal(opened(parseAddress('fd00::9')!, 5_432), undefined)
    assert.match(opened(parseAddress('127.0.0.1')!, 8_081)!, /own port/)
    assert.match(opened(parseAddress('::ffff:127.9.9.9')!, 8_081)!, /own port/)
    assert.match(opened(parseAddress('0.0.0.0')!, 8_081)!, /own port/)
    assert.ok(opened(parseAddress('10.0.0.1')!, 5_432))
    assert.ok(opened(parseAddress('64:ff9b::7f00:1')!, 5_432), 'a detour to an opened network is not opened')
  })
})

describe('networks', () => {
  it('are read exactly, without bits behind the prefix', () => {
    for (const text of ['10.0.0.0/8', '203.0.113.7', '2001:db8::/32', '::/0', '0.0.0.0/0']) assert.ok(parseNetwork(text), text)
    for (const text of ['10.0.0.1/8', '10.0.0.0/33', '10.0.0/8', '2001:db8::/129', '2001:db8::1/32', 'fe80::1%eth0', '10.0.0.0/', '/8', 'a/8', '10.0.0.0/8/8'])
      assert.equal(parseNetwork(text), undefined, text)
  })

  it('contain what shares their prefix, and nothing of the other family', () => {
    const network = parseNetwork('10.128.0.0/9')!
    assert.ok(contains(network, parseAddress('10.200.1.1')!))
    assert.ok(contains(network, parseAddress('::ffff:10.200.1.1')!))
    assert.ok(!contains(network, parseAddress('10.127.255.255')!))
    assert.ok(!contains(parseNetwork('::/0')!, parseAddress('10.0.0.1')!))
  })

  it('have addresses that are written in one way', () => {
    assert.equal(formatAddress(parseAddress('2001:DB8:0::1')!), '2001:db8:0:0:0:0:0:1')
    assert.equal(formatAddress(parseAddress('::ffff:1.2.3.4')!), '1.2.3.4')
    assert.equal(specialKind(parseAddress('9.9.9.9')!), undefined)
  })
})

describe('an egress list', () => {
  const admits = (rules: string[], target: string): boolean => {
    const parsed = parseTarget(target)
    assert.ok(typeof parsed !== 'string', `${target}: ${JSON.stringify(parsed)}`)
    return (
      findRule(
        rules.map((rule) => parseRule(rule)!),
        parsed,
      ) !== undefined
    )
  }

  it('takes names, names below one, addresses and networks, each with a port', () => {
    const good = {
      'API.Example.com:443': 'api.example.com:443',
      'example.com.:80': 'example.com:80',
      '*.Example.com:443': '*.example.com:443',
      '203.0.113.7:443': '203.0.113.7:443',
      '203.0.113.0/24:443': '203.0.113.0/24:443',
      '[2001:DB8::/32]:443': '[2001:db8::/32]:443',
      'bücher.example:443': 'xn--bcher-kva.example:443',
      '_srv.example.com:1': '_srv.example.com:1',
    }
    for (const [text, kept] of Object.entries(good)) assert.equal(canonicalRule(text), kept, text)
    for (const text of [
      'example.com',
      'example.com:0',
      'example.com:65536',
      'example.com:https',
      'https://example.com:443',
      '*:443',
      '*.:443',
      'a.*.com:443',
      '**.com:443',
      'exam ple.com:443',
      '-a.com:443',
      'a..com:443',
      '2001:db8::1:443',
      '[example.com]:443',
      '[203.0.113.7]:443',
      '10.0.0.1/8:443',
      '0x7f.1:80',
      '127.1:80',
      'a.com:443\n',
      '',
      ':443',
      `${'a'.repeat(64)}.com:443`,
      'user@example.com:443',
      'example.com/path:443',
    ])
      assert.equal(canonicalRule(text), undefined, JSON.stringify(text))
  })

  it('admits what it names and nothing else', () => {
    assert.ok(admits(['example.com:443'], 'EXAMPLE.com.:443'))
    assert.ok(!admits(['example.com:443'], 'example.com:80'))
    assert.ok(!admits(['example.com:443'], 'www.example.com:443'))
    assert.ok(admits(['*.example.com:443'], 'a.b.example.com:443'))
    assert.ok(!admits(['*.example.com:443'], 'example.com:443'))
    assert.ok(!admits(['*.example.com:443'], 'badexample.com:443'))
    assert.ok(admits(['203.0.113.0/24:443'], '203.0.113.9:443'))
    assert.ok(admits(['203.0.113.0/24:443'], '[::ffff:203.0.113.9]:443'))
    assert.ok(!admits(['203.0.113.0/24:443'], '203.0.114.1:443'))
    assert.ok(!admits(['*.example.com:443'], '203.0.113.9:443'))
  })

  it('knows a service’s name from what is none', () => {
    assert.deepEqual(parseServiceName('Postgres.internal:5432'), { name: 'postgres.internal', port: 5_432 })
    for (const text of ['localhost:1', 'a.localhost:1', '127.0.0.1:1', '*.internal:1', 'a b:1', 'db', 'db:0', 'db\n127.0.0.1 evil:1'])
      assert.equal(parseServiceName(text), undefined, text)
  })
})
