// Make what pages load from the npm packages: Bootstrap with the rules that templates use, and a subset of the font.
// node build-assets.mjs FOLDER ROOT: FOLDER has node_modules, ROOT the services and shared packages; writes FOLDER/node_modules/peyvand.

import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'

const [folder, root] = process.argv.slice(2).map((each) => resolve(each))
const require = createRequire(join(folder, 'package.json'))
const { PurgeCSS } = require('purgecss')
const subset = require('subset-font')

const PLACES = ['shared/web', 'services', 'deploy/peyvand']
const SUFFIXES = /\.(html|js|py)$/
// Basic Latin, Arabic with the Persian letters and digits, and the marks of our texts: quotes, dashes, joiners, minus.
const RANGES = [[0x20, 0x7e], [0xa0, 0xff], [0x600, 0x6ff], [0x200c, 0x200f], [0x2010, 0x2027], [0x2066, 0x2069]]
const OTHERS = '\u2032\u2033\u2039\u203a\u2212\u25cc'

async function sources(directory) {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries.filter((each) => each.isFile() && SUFFIXES.test(each.name)).map((each) => join(each.parentPath, each.name))
}

// The words of class attributes, and short strings of code that may be a class: `classList.add("moved")`.
function classes(text) {
  const attributes = [...text.matchAll(/class=\\?["'](.*?)\\?["'](?=[\s/>{]|$)/gs)].map((each) => each[1])
  const names = attributes.flatMap((each) => each.match(/[\w-]+/g) ?? [])
  const literals = [...text.matchAll(/["'](-?[a-z][\w-]*)["']/g)].map((each) => each[1])
  const elements = [...text.matchAll(/<([a-z][a-z0-9]*)/g)].map((each) => each[1])
  return [...names, ...literals, ...elements]
}

const files = (await Promise.all(PLACES.map((each) => sources(join(root, each))))).flat()
const content = await Promise.all(files.map(async (file) => ({ raw: await readFile(file, 'utf8'), extension: 'html' })))
const modules = join(folder, 'node_modules')
const made = join(modules, 'peyvand')
await mkdir(made, { recursive: true })

for (const name of ['bootstrap.min.css', 'bootstrap.rtl.min.css']) {
  const css = await readFile(join(modules, 'bootstrap/dist/css', name), 'utf8')
  const [{ css: trimmed }] = await new PurgeCSS().purge({
    content,
    css: [{ raw: css }],
    defaultExtractor: classes,
    safelist: { standard: ['html', 'body', ':root'], deep: [/data-bs-theme/] },
    blocklist: ['text-body'], // ignores the dark colours
    keyframes: true,
    fontFace: true,
  })
  const kept = trimmed.replace(/\/\*#.*?\*\//gs, '')
  await writeFile(join(made, name), kept)
}

const letters = RANGES.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, i) => String.fromCodePoint(first + i)))
const font = await readFile(join(modules, 'vazirmatn/fonts/webfonts/Vazirmatn[wght].woff2'))
const small = await subset(font, letters.join('') + OTHERS, { targetFormat: 'woff2', variationAxes: { wght: { min: 400, max: 850 } } })
await writeFile(join(made, 'vazirmatn.woff2'), small)
